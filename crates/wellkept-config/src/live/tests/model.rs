//! Any interleaving of changes and faults.
