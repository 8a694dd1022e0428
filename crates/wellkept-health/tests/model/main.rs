//! The checker against naive models of what the design's tables say: ten thousand random cases for each rule, driven
//! through the public interface.

mod aggregation;
mod bench;
mod dependencies;
mod staleness;
