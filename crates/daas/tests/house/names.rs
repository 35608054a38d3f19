//! Names of stands, asked for with `dig`.

use crate::trials::program;
use xtask::trials;

#[test]
fn root_names_come_with_their_stand_go_with_it_and_outlive_a_crash() {
    trials::names_follow_stands(program()).unwrap();
}
