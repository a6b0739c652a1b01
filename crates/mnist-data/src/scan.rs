//! Placeholder: the `scan` module is being written.
