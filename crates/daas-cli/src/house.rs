use daas_api::{DoctorReport, Failure};
use std::path::Path;

/// What the command line asks of the program that it is part of.
pub trait House {
    /// Returns the version, `0.1.0`.
    fn version(&self) -> &'static str;

    /// Serves until it is asked to end. Called before any thread exists.
    ///
    /// # Errors
    /// A [`Failure`] if the daemon cannot start.
    fn serve(&self, config: Option<&Path>) -> Result<(), Failure>;

    /// Looks at the host without a daemon.
    fn doctor(&self) -> DoctorReport;
}
