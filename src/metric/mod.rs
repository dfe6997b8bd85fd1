//! Room: metric.
