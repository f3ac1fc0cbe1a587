//! What must not compile, and what the compiler says to whoever tries.
//!
//! The messages are part of the library: whoever changes one reads it as a newcomer would, and has it written anew with
//! `TRYBUILD=overwrite cargo test -p factum --test ui`. They are those of the toolchain in `rust-version`.

#[test]
fn what_must_not_compile_does_not_and_says_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
