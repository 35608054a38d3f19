//! Names of stands, asked for with `dig`.

use crate::trials::program;
use xtask::trials;

#[test]
fn root_names_come_with_their_stand_go_with_it_and_outlive_a_crash() {
    trials::names_follow_stands(program()).unwrap();
}

#[test]
fn root_a_thousand_foreign_look_ups_in_a_stand_without_a_way_out_send_nothing() {
    trials::no_way_out_no_questions(program()).unwrap();
}
