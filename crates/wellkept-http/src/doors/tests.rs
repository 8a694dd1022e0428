//! Claims about the doors' answers.
