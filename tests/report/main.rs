//! The report of two invented comparisons: as text, and in a browser where there is one.

mod browser;
mod descent;
mod fixture;
mod page;
