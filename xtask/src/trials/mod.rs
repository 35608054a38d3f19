//! What the product must bear, each as a function of a program and a size: small in the tests, large in the soak.
//!
//! A trial ends with a census: nothing that bears the daemon's mark may be left.

mod bed;
mod containment;
mod crash;
mod fill;
mod host;
mod hostile;
mod languages;
mod many;
mod names;
mod registry;
mod rights;
mod slow;
mod survive;
mod systemd;
mod traefik;
pub(crate) mod urls;
mod zonemaster;

pub use bed::Bed;
pub use containment::{
    Facts, containment_against_all, containment_against_runc, facts_of_libcontainer, facts_of_runc,
};
pub use crash::{Damage, crash_matrix};
pub use fill::million_files;
pub use host::granted_things_of_the_host;
pub use hostile::{HOSTS, Hostility, Told, hostile_neighbours, trial_program};
pub use languages::{JAVASCRIPT, Language, PYTHON, RUST, language, languages};
pub use many::many_at_once;
pub use names::{names_follow_stands, no_way_out_no_questions};
pub use registry::{clients, conformance, pushed_is_runnable, rounds};
pub use rights::rights_of_files_and_listeners;
pub use slow::slow_visitors;
pub use survive::{daemon_dies, keeper_dies, second_daemon_refuses};
pub use systemd::under_systemd;
pub use traefik::behind_traefik;
pub use urls::{sleeps_and_wakes, upgrade_under_load, urls_answer};
pub use zonemaster::judged_by_zonemaster;
