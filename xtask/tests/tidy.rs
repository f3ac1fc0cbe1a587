//! Makes the rules of place a test, so that nobody has to remember a second command.

#[test]
fn the_rules_of_place_hold() {
    let report = xtask::tidy::run(&xtask::root()).expect("the repository can be read");
    assert!(report.files > 0 && report.rules > 0, "nothing was looked at: {report}");
    assert!(report.holds(), "\n{report}");
}
