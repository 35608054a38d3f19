//! The script that compares nodes with runc, proved on runc itself.

use xtask::trials::facts_of_runc;

#[test]
fn root_the_reference_passes_its_own_script_but_for_the_filter_that_it_lacks() {
    let facts = facts_of_runc().unwrap();
    assert_eq!(
        facts.wider_than(&facts),
        ["no seccomp filter"],
        "{facts:#?}"
    );
    let told = format!("{facts:?}");
    for word in [
        "CapBnd: 00000000a00425fb",
        "NoNewPrivs: 1",
        "\"/proc/sysrq-trigger closed\"",
        "\"/proc/kcore 0\"",
        "0 100000 65536",
    ] {
        assert!(told.contains(word), "{word} is not in {told}");
    }
}
