//! The process that holds one stand, and the words to speak with it.
//!
//! daemon -> zygote (one thread, forked before the first thread) -> keeper (one per stand, outlives the daemon) -> nodes.
//!
//! Not here: system calls (`daas-sys`), what a stand is made from (`daas-engine` resolves it), images (`daas-image`).

pub mod launch;
pub mod protocol;
