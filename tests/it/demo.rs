//! `flowgate demo`, small: it weathers its storm and says so. That it can fail is shown beside its verdict
//! (`src/cli/demo/verdict.rs`), with evidence that was tampered with.

use crate::support::run;

#[test]
fn a_small_storm_is_weathered() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &["demo", "--rate", "200", "--seconds", "3"]);
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    for line in ["lost: 0", "doubled: 0", "3 of 3 places"] {
        assert!(said.out.contains(line), "{line} in:\n{}", said.out);
    }
    assert!(said.out.contains("199 were offered another time"), "{}", said.out);
}
