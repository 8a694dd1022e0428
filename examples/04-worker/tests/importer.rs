//! The example as a real process, told to end in the middle of a file.

use std::process::Command;
use std::time::Duration;

use wellkept_testkit::{Program, Signal};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_file_it_is_at_is_imported_whole_and_no_other_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let lines = (0..10).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
    for name in ["a", "b"] {
        std::fs::write(folder.path().join(name), &lines).unwrap();
    }
    let mut importer = Program::spawn(Command::new(env!("CARGO_BIN_EXE_importer")).arg(folder.path()));
    importer.wait_for_line(|line| line == "line 0", PATIENCE);
    importer.signal(Signal::TERM);
    assert_eq!(importer.wait(PATIENCE).code(), Some(0));
    let said = importer.stdout();
    assert_eq!(said.matches("begins ").count(), 1, "{said}");
    assert_eq!(said.matches("line 9").count(), 1, "{said}");
    assert!(said.ends_with("imported 1 files\n"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "the other is still there");
}

#[test]
fn a_folder_that_is_gone_ends_it_with_70() {
    let mut importer = Program::spawn(Command::new(env!("CARGO_BIN_EXE_importer")).arg("/nowhere/at/all"));
    assert_eq!(importer.wait(PATIENCE).code(), Some(70));
    assert!(importer.stdout().contains("imported 0 files"));
}
