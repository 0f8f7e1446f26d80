//! The bridge to timely.
