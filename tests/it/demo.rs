//! A short `flowgate demo` passes and reports it. See `src/cli/demo/verification.rs` for tests with
//! manipulated evidence, which show that the demo can fail.

use crate::support::run;

#[test]
fn short_demo_passes_its_verification() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &["demo", "--rate", "200", "--seconds", "3"]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    for line in ["lost: 0", "doubled: 0", "3 of 3 places"] {
        assert!(said.out.contains(line), "{line} in:\n{}", said.out);
    }
    assert!(
        said.out
            .contains("199 forms were refused and offered other slots"),
        "{}",
        said.out
    );
}
