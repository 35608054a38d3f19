//! Opened with its first feature.
