//! Room: transport.
