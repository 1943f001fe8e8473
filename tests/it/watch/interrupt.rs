//! Ctrl-C and SIGTERM at any time.
