//! Manual pages.

use crate::args::Cli;
use crate::stop::Stop;
use crate::talk::Talk;
use clap::CommandFactory;
use clap_mangen::Man;
use std::path::Path;

/// Prints the first page, or writes all pages to a folder.
pub(crate) fn print(dir: Option<&Path>, talk: &Talk) -> Result<(), Stop> {
    match dir {
        None => {
            let mut page = Vec::new();
            Man::new(Cli::command())
                .render(&mut page)
                .map_err(Stop::io("write", "the page"))?;
            talk.data(page)
        }
        Some(dir) => {
            std::fs::create_dir_all(dir).map_err(Stop::io("make", dir.display()))?;
            clap_mangen::generate_to(Cli::command(), dir)
                .map_err(Stop::io("write to", dir.display()))?;
            talk.say(format!("the pages are in {}", dir.display()));
            Ok(())
        }
    }
}
