//! The command line door: `daas <noun> <verb>`.
//!
//! Data goes to standard output, words and progress to standard error; `--json` gives the API's own types; the exit
//! code tells the kind of a failure ([`exit`]). Everything goes through the API; what needs the house itself (`serve`,
//! a look at the host without a daemon) is asked of a [`House`], which the binary gives.
//!
//! Not here: what the commands mean (`daas-control`), reading of compose files (`daas-spec`), transport (`daas-client`).

mod args;
mod ban;
mod certificate;
mod complain;
mod completions;
mod disk_files;
mod dns;
mod doctor;
pub mod exit;
mod house;
mod human;
mod image;
mod image_build;
mod install;
mod line;
mod man;
mod pack;
mod paint;
mod progress;
mod project;
mod project_args;
mod registry;
mod route;
mod run;
mod shell;
mod ssh;
mod stand;
mod stop;
mod system;
mod table;
mod talk;
mod target;
mod terminal;
mod trust;
mod tty;
mod unpack;

pub use house::House;
pub use run::{main, run};
pub use terminal::{Sink, Terminal};
