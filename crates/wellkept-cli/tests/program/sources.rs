//! Where a real program's configuration comes from: the file, the folder beside it, the environment, the command line,
//! and secrets that stand elsewhere.

use std::fs;
use std::path::Path;
use std::process::Command;

use wellkept_testkit::{Program, http, wait_within};

use crate::served::{PATIENCE, Served, listening, text, wellkept};

#[test]
fn the_command_line_wins_over_the_environment_over_the_folder_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("wellkept.d")).unwrap();
    let file = "service: { name: file, version: file, id: file }\nhttp: { listen: '127.0.0.1:1' }\nchecks:\n\
                - { name: root-disk, disk: { path: / } }\n";
    fs::write(path("wellkept.yaml"), file).unwrap();
    fs::write(path("wellkept.d/10-more.yaml"), "service: { version: folder }\nchecks: [{ name: load, cpu: {} }]\n")
        .unwrap();
    fs::write(path("wellkept.d/20-most.yaml~"), "nothing: good\n").unwrap();
    let mut command = wellkept(folder.path());
    command.args(["serve", "--set", "http.listen=127.0.0.1:0", "--set", "service.name=command line"]);
    command.envs([("WELLKEPT_SERVICE__NAME", "environment"), ("WELLKEPT_CHECKS__ROOT_DISK__INTERVAL", "7s")]);
    // What only begins like a key is none.
    let program = Program::spawn(command.env("WELLKEPT_PORT", "tcp://10.0.0.1:80"));
    let address = listening(&program, "probes and metrics");
    let told = http::get(address, "/health/detailed").json();
    let served = Served { program, http: address, folder };
    assert_eq!([&told["service"], &told["version"]], ["command line", "folder"], "{told}");
    let names: Vec<_> = told["components"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(names.contains(&"root-disk") && names.contains(&"load"), "{names:?}");
    assert_eq!(served.component("root-disk")["interval_ms"], 7000, "{told}");
}

#[test]
fn a_mistake_is_told_with_the_variable_the_argument_or_the_file_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("wellkept.d")).unwrap();
    let checks = "checks: [{ name: root-disk, disk: { path: / } }]\n";
    fs::write(folder.path().join("wellkept.yaml"), checks).unwrap();
    fs::write(folder.path().join("wellkept.d/again.yaml"), checks).unwrap();
    let mut command = wellkept(folder.path());
    command.args(["serve", "--set", "checks.root-disc.interval=1s", "--set", "service.nam=x"]);
    let variables = [("WELLKEPT_HTTP__LISTN", "x"), ("WELLKEPT_CHECKS__ROOT_DISK__INTERVAL", "soon")];
    let output = wait_within(PATIENCE, command.envs(variables)).expect("the program runs and ends");
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stdout) + &text(&output.stderr);
    let folder = folder.path().display().to_string() + "/";
    for expected in [
        "wellkept.d/again.yaml:1:18: `root-disk` is there already, at ./wellkept.yaml:1:18",
        "environment WELLKEPT_CHECKS__ROOT_DISK__INTERVAL: expected a duration such as 10s or 250ms, found `soon`",
        "environment WELLKEPT_HTTP__LISTN: unknown key `listn` in `http`, did you mean `listen`?",
        "--set checks.root-disc.interval: there is no `root-disc` in `checks`, did you mean `root-disk`?",
        "--set service.nam: unknown key `nam` in `service`, did you mean `name`?",
    ] {
        assert!(told.replace(&folder, "").contains(expected), "{expected}\n{told}");
    }
}

#[test]
fn a_token_may_be_a_credential_of_systemd() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "a-token-of-twenty-letters-and-more\n").unwrap();
    let file = "http: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0', token_file: 'credential:token', loopback: false }\n";
    fs::write(folder.path().join("wellkept.yaml"), file).unwrap();
    let mut command = wellkept(folder.path());
    let program = Program::spawn(command.arg("serve").env("CREDENTIALS_DIRECTORY", folder.path()));
    let admin = listening(&program, "status page and details");
    assert_eq!(http::get(admin, "/health/detailed").status, 401);
    let token = [("authorization", "Bearer a-token-of-twenty-letters-and-more")];
    assert_eq!(http::request(admin, "GET", "/health/detailed", &token, b"").unwrap().status, 200);
    drop(program);
    let mut without = wellkept(folder.path());
    let output = wait_within(PATIENCE, without.arg("serve").env_remove("CREDENTIALS_DIRECTORY")).expect("it ends");
    assert_eq!(output.status.code(), Some(78));
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(told.contains("no credential `token`: $CREDENTIALS_DIRECTORY is not set"), "{told}");
}

/// `crates/wellkept-config/tests/bad` holds files for every way in which one can be wrong; some of them are whole for a
/// program that needs no key.
#[test]
fn of_the_bad_files_none_makes_the_program_panic_hang_or_take_much_memory() {
    const MEMORY_KIB: u64 = 64 << 10;
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wellkept-config/tests/bad");
    let mut files: Vec<_> = fs::read_dir(bad).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let folder = tempfile::tempdir().unwrap();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "yaml")).step_by(7) {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -v \"$1\" && exec \"$2\" config check \"$3\"", "sh", &MEMORY_KIB.to_string()]);
        limited.arg(wellkept(folder.path()).get_program()).arg(file).current_dir(folder.path());
        let output = wait_within(PATIENCE, &mut limited).expect("it ends");
        let told = text(&output.stdout) + &text(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 78)), "{}: {:?} {told}", file.display(), output.status);
        assert!(!told.contains("panicked"), "{}: {told}", file.display());
    }
}
