//! What the product must bear, in a size that fits into every run; `cargo xtask soak` runs the same large.

use std::path::Path;
use xtask::trials;

/// The daemon of this very build.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_daas"))
}

#[test]
fn root_eight_stands_of_one_file_with_fixed_addresses_answer_with_their_own_words() {
    trials::many_at_once(program(), 8).unwrap();
}

#[test]
fn root_a_killed_daemon_stops_no_node_and_loses_no_log_byte() {
    trials::daemon_dies(program(), 4).unwrap();
}

#[test]
fn root_what_is_pushed_runs_without_a_pull_and_outlives_a_crash() {
    trials::pushed_is_runnable(program()).unwrap();
}

#[test]
fn root_stands_answer_by_name_while_they_are_there() {
    trials::urls_answer(program()).unwrap();
}

#[test]
fn root_a_stand_that_nobody_visits_sleeps_and_the_next_visitor_wakes_it() {
    trials::sleeps_and_wakes(program()).unwrap();
}

#[test]
fn root_no_request_fails_while_the_daemon_is_replaced() {
    trials::upgrade_under_load(program(), 2).unwrap();
}

#[test]
fn root_a_second_daemon_on_one_state_folder_refuses_and_names_the_first() {
    trials::second_daemon_refuses(program()).unwrap();
}

#[test]
fn root_a_killed_keeper_takes_its_stand_along_which_comes_back_by_policy() {
    trials::keeper_dies(program()).unwrap();
}

#[test]
fn root_a_node_can_nowhere_do_more_than_under_runc() {
    trials::containment_against_runc(program()).unwrap();
}

#[test]
fn root_things_of_the_host_are_refused_without_a_grant_and_there_with_one() {
    trials::granted_things_of_the_host(program()).unwrap();
}

#[test]
fn root_the_state_is_closed_to_others_and_only_published_ports_listen() {
    trials::rights_of_files_and_listeners(program()).unwrap();
}

/// Failed, killed and done twice while a keeper is made, a node is started, a stand is thrown away; the soak does it at every step.
#[test]
fn root_damage_at_steps_of_a_life_ends_done_or_undone_and_leaves_nothing() {
    let steps = [
        "prepare.network",
        "start.exec",
        "destroy.cgroup",
        "loop.start",
        "loop.closed",
    ];
    trials::crash_matrix(program(), &steps, 1).unwrap();
}

#[test]
fn root_bad_neighbours_are_named_with_their_limits_and_keep_nobody_from_answering() {
    trials::hostile_neighbours(program(), &trials::HOSTS, 50).unwrap();
}
