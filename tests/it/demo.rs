//! A short `flowgate demo` passes and reports it. See `src/cli/demo/verification.rs` for tests with
//! manipulated evidence, which show that the demo can fail.

use crate::support::run;

#[test]
fn short_demo_passes_its_verification() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["demo", "--rate", "200", "--seconds", "3"]);
    assert_eq!(output.code, 0, "{}\n{}", output.out, output.err);
    for line in ["lost: 0", "doubled: 0", "3 of 3 places"] {
        assert!(output.out.contains(line), "{line} in:\n{}", output.out);
    }
    assert!(
        output
            .out
            .contains("199 forms were refused and offered other slots"),
        "{}",
        output.out
    );
}
