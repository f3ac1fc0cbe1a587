//! The README shows the quickstart, and the quickstart is short.

const README: &str = include_str!("../../../README.md");
const SOURCE: &str = include_str!("../src/main.rs");

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let shown = format!("```rust,ignore\n{SOURCE}```\n<!-- /quickstart -->");
    assert!(
        README.contains(&shown),
        "README.md shows another quickstart than examples/quickstart/src/main.rs"
    );
}

#[test]
fn the_quickstart_stays_under_80_lines() {
    assert!(SOURCE.lines().count() < 80);
}
