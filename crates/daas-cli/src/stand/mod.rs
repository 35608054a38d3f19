//! `daas stand <verb>`: one file per verb.

mod act;
pub(crate) mod build;
mod copy;
mod down;
mod events;
pub(crate) mod exec;
mod forward;
mod list;
mod logs;
mod plan;
mod scale;
mod show;
mod stats;
mod up;

use crate::completions;
use crate::project_args::{ProjectArgs, parse_scale};
use crate::stop::Stop;
use crate::talk::Talk;
use clap::{Args, Subcommand};
use daas_api::Action;
use daas_model::{NodeName, Span, StandName};

#[derive(Debug, Subcommand)]
pub(crate) enum StandVerb {
    /// Makes a stand of the project here, or changes it to what the project says now.
    Up(up::Up),
    /// Tells what `up` would do, and changes nothing.
    Plan(plan::Plan),
    /// Lists the stands.
    #[command(visible_alias = "ls")]
    List,
    /// Shows a stand with its nodes and ports.
    Show {
        /// The stand.
        #[arg(value_name = "STAND", add = completions::stands())]
        stand: StandName,
    },
    /// Prints what nodes write.
    Logs(logs::Logs),
    /// Runs a program in a node; its exit code becomes ours.
    Exec(exec::Exec),
    /// Copies files between a node and here: `shop/web:/etc/motd .`
    #[command(visible_alias = "cp")]
    Copy(copy::Copy),
    /// Shows what a stand and its nodes use.
    Stats(stats::Stats),
    /// Shows what happened.
    Events(events::Events),
    /// Starts what is stopped.
    Start(Act),
    /// Stops nodes; their data stays.
    Stop(Act),
    /// Stops and starts nodes.
    Restart(Act),
    /// Freezes all nodes of a stand.
    Pause(ActOnAll),
    /// Thaws what is frozen.
    Resume(ActOnAll),
    /// Changes how many nodes services have.
    Scale(Scale),
    /// Throws stands away, with their volumes.
    #[command(visible_alias = "rm")]
    Down(down::Down),
    /// Opens a port here that leads to a node.
    Forward(forward::Forward),
}

/// Which stand, which of its nodes.
#[derive(Debug, Args)]
pub(crate) struct Act {
    /// The stand.
    #[arg(value_name = "STAND", add = completions::stands())]
    stand: StandName,
    /// The nodes [default: all].
    #[arg(value_name = "NODE")]
    nodes: Vec<NodeName>,
    /// How long nodes may take to end [default: their own `stop_grace_period`].
    #[arg(long, value_name = "TIME", value_parser = crate::project_args::parse_span)]
    grace: Option<Span>,
    /// Does not wait until it is done.
    #[arg(long)]
    no_wait: bool,
}

/// Which stand as a whole.
#[derive(Debug, Args)]
pub(crate) struct ActOnAll {
    /// The stand.
    #[arg(value_name = "STAND", add = completions::stands())]
    stand: StandName,
    /// Does not wait until it is done.
    #[arg(long)]
    no_wait: bool,
}

impl From<ActOnAll> for Act {
    fn from(all: ActOnAll) -> Self {
        Self {
            stand: all.stand,
            nodes: Vec::new(),
            grace: None,
            no_wait: all.no_wait,
        }
    }
}

/// Which stand, how many nodes.
#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// The stand.
    #[arg(value_name = "STAND", add = completions::stands())]
    stand: StandName,
    /// The number of nodes of a service, `web=3`.
    #[arg(value_name = "SERVICE=N", required = true, value_parser = parse_scale)]
    services: Vec<(String, u32)>,
    /// Does not wait until it is done.
    #[arg(long)]
    no_wait: bool,
}

/// Which stands of which project.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// The stand's name [default: the project's name].
    #[arg(value_name = "STAND", add = completions::stands())]
    name: Option<StandName>,
    /// Makes so many stands: STAND-1, STAND-2, ...
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=999))]
    count: Option<u32>,
    #[command(flatten)]
    project: ProjectArgs,
    /// Makes every node anew, also those that did not change.
    #[arg(long)]
    recreate: bool,
    /// Looks for newer images in their registries.
    #[arg(long)]
    pull: bool,
    /// Records the stands and starts nothing.
    #[arg(long)]
    no_start: bool,
}

impl Wanted {
    /// Reads the project and makes the request of it; tells all faults.
    fn request(&self, talk: &Talk) -> Result<daas_api::UpRequest, Stop> {
        Ok(self.read(talk)?.0)
    }

    /// The same with what was found in the project.
    fn read(&self, talk: &Talk) -> Result<(daas_api::UpRequest, daas_spec::Outcome), Stop> {
        let read = self.project.read_or_complain(talk)?;
        let options = daas_api::UpOptions {
            recreate: self.recreate,
            pull: self.pull,
            no_start: self.no_start,
            // What is missing is built here, where the files are.
            build: daas_api::BuildWish::Never,
        };
        let request = daas_api::UpRequest {
            name: self.name.clone(),
            count: self.count,
            project: read.source,
            options,
        };
        Ok((request, read.outcome))
    }
}

pub(crate) async fn run(verb: StandVerb, talk: &Talk) -> Result<(), Stop> {
    match verb {
        StandVerb::Up(up) => up::run(up, talk).await,
        StandVerb::Plan(plan) => plan::run(plan, talk).await,
        StandVerb::List => list::run(talk).await,
        StandVerb::Show { stand } => show::run(&stand, talk).await,
        StandVerb::Logs(logs) => logs::run(logs, talk).await,
        StandVerb::Exec(exec) => exec::run(exec, talk).await,
        StandVerb::Copy(copy) => copy::run(copy, talk).await,
        StandVerb::Stats(stats) => stats::run(stats, talk).await,
        StandVerb::Events(events) => events::run(events, talk).await,
        StandVerb::Start(act) => act::run(Action::Start, act, talk).await,
        StandVerb::Stop(act) => act::run(Action::Stop, act, talk).await,
        StandVerb::Restart(act) => act::run(Action::Restart, act, talk).await,
        StandVerb::Pause(all) => act::run(Action::Pause, all.into(), talk).await,
        StandVerb::Resume(all) => act::run(Action::Resume, all.into(), talk).await,
        StandVerb::Scale(scale) => scale::run(scale, talk).await,
        StandVerb::Down(down) => down::run(down, talk).await,
        StandVerb::Forward(forward) => forward::run(forward, talk).await,
    }
}
