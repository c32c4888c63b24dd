//! Sets up the log: text for eyes, JSON for programs, to standard error.
