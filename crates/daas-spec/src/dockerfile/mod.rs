//! A Dockerfile becomes typed instructions, with a diagnostic for every fault at its place.
//!
//! The rules are those of the Dockerfile reference (docs.docker.com, syntax 1.x of 2026) and, where it is silent, what
//! `BuildKit`'s own reader does; docs/reference/dockerfile.md lists what differs. [`read_dockerfile`] reads the text;
//! [`Dockerfile::plan`] finds which stages a target needs and where each begins; [`Scope`] puts variables into one
//! instruction after the other, in the order of the text, as a build meets them. [`Ignore`] is a `.dockerignore`.
//!
//! One reading goes through these rooms: `line` (physical lines to logical ones, here-documents, parser directives),
//! `split` (keyword, flags, arguments), `parse` (arguments to instructions), `check` (what is legal and still unwise).
//! Costs are bounded whatever the text holds: 1 MiB of text, 10,000 instructions, 1 MiB for what variables grow to.
//!
//! Not here: reading files, pulling base images, running anything (`daas-build`).

mod check;
mod desk;
mod duration;
mod expand;
mod file;
mod flags;
mod ignore;
mod instruction;
mod json;
mod line;
mod mode;
mod mount;
mod parse;
mod pattern;
mod plan;
mod port;
mod remote;
mod scope;
mod split;

pub use file::{Dockerfile, MAX_DOCKERFILE, Parsed, Stage, read_dockerfile, read_trigger};
pub(crate) use ignore::clean;
pub use ignore::{Ignore, IgnoreFault, Verdicts};
pub use instruction::{
    CommandLine, HealthProbe, Inline, Instruction, Pair, Run, RunCommand, RunNetwork, Spot, Step,
    Transfer, TransferKind, Word,
};
pub use mode::{Chmod, ChmodFault};
pub use mount::{Mount, MountKind, Sharing};
pub use plan::{BuildInputs, Origin, Plan, StagePlan};
pub use port::PortRange;
pub(crate) use port::exposed;
pub use remote::{GitRemote, Remote, RemoteFault};
pub use scope::{Action, InlineFile, RunAction, Scope, TransferAction};
