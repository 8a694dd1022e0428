//! Where the program listens: on Unix sockets, and over TLS with certificates that are renewed.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use tempfile::TempDir;
use wellkept::net::tls::{Client, Session, TlsError};
use wellkept_testkit::{Authority, Issued, Program, Signal, not_run, until_some, wait_within};

use crate::configuration::check;
use crate::served::{PATIENCE, Served, listening, run, text, wellkept};

fn folder(configuration: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("wk.sock").display());
    std::fs::write(folder.path().join("wellkept.yaml"), configuration.replace("SOCKET", &socket)).unwrap();
    folder
}

/// Starts the program, which listens on the socket.
fn start(folder: &Path) -> Program {
    let program = Program::spawn(wellkept(folder).arg("serve"));
    program.wait_for_line(|line| line.contains("probes and metrics on unix:"), PATIENCE);
    program
}

fn ask(socket: &Path, path: &str, headers: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn on_a_unix_socket_the_same_user_is_an_operator_and_the_commands_find_it() {
    let folder = folder("http: { listen: 'SOCKET' }\nservice: { name: orders }\n");
    let socket = folder.path().join("wk.sock");
    let mut program = start(folder.path());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    for headers in ["Host: localhost\r\n", "Host: \r\n"] {
        assert!(ask(&socket, "/health/detailed", headers).starts_with("HTTP/1.1 200 "), "{headers}");
    }
    for headers in ["Host: localhost\r\nX-Forwarded-For: 10.0.0.1\r\n", "Host: orders.example\r\n"] {
        let answer = ask(&socket, "/health/detailed", headers);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{headers}: {answer}");
        assert!(ask(&socket, "/livez", headers).starts_with("HTTP/1.1 200 "), "{headers}");
    }
    let address = format!("unix:{}", socket.display());
    for arguments in [
        &["status", "--server", &address][..],
        // By the configuration, which names the socket.
        &["status"],
        &["check", "--server", &address],
        // What acts does, too.
        &["reload"],
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }
    let curl = ["--silent", "--unix-socket", socket.to_str().unwrap(), "http://localhost/health/detailed"];
    match wait_within(PATIENCE, Command::new("curl").args(curl)) {
        Ok(output) => assert!(text(&output.stdout).contains("\"components\""), "{}", text(&output.stdout)),
        Err(error) => not_run(format!("curl: {error}: apt-get install curl")),
    }
    let acted = program.wait_for_line(|line| line.contains("\"acted\""), PATIENCE);
    assert!(acted.contains("unix_socket from process "), "{acted}");
    program.signal(Signal::TERM);
    assert_eq!(program.wait(PATIENCE).code(), Some(0));
    assert!(!socket.exists(), "the file is gone with the process");
    let gone = run(folder.path(), &["status"]);
    assert_eq!(gone.status.code(), Some(69), "{}", text(&gone.stderr));
    assert!(text(&gone.stderr).contains(&address), "{}", text(&gone.stderr));
}

#[test]
fn a_second_process_on_a_socket_is_refused_and_a_killed_one_leaves_no_hindrance() {
    let folder = folder("http: { listen: 'SOCKET', mode: 0660 }\n");
    let socket = folder.path().join("wk.sock");
    let mut first = start(folder.path());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let second = run(folder.path(), &["serve"]);
    assert_eq!(second.status.code(), Some(69));
    let said = text(&second.stderr);
    assert!(said.contains("another process listens there; stop it, or choose another path"), "{said}");
    first.kill();
    assert!(socket.exists());
    let mut again = start(folder.path());
    assert!(ask(&socket, "/livez", "Host: localhost\r\n").starts_with("HTTP/1.1 200 "));
    again.signal(Signal::TERM);
    assert_eq!(again.wait(PATIENCE).code(), Some(0));
}

#[test]
fn every_mistake_about_where_to_listen_has_its_place() {
    let (code, said) = check(
        "http: { listen: 'unix:wk.sock', mode: 660 }
admin:
  listen: 127.0.0.1:8081
  mode: 0600
  tls: { certificate: /nowhere/tls.pem, kee: /nowhere/tls.key }
",
    );
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @r"
    app.yaml:1:17: expected an address such as 127.0.0.1:8080 or unix:/run/wellkept.sock, found `unix:wk.sock` (the path of a Unix socket must be absolute, such as unix:/run/wellkept.sock)
    app.yaml:4:9: `mode` is for a Unix socket, such as `listen: unix:/run/wellkept.sock`
    app.yaml:5:8: missing key `key` in `tls`: expected a path such as /var/lib/app
    app.yaml:5:41: unknown key `kee` in `tls`, did you mean `key`?
    ");
    let (code, said) = check(
        "http: { listen: 'unix:/run/wk.sock', mode: 4755 }
admin:
  listen: unix:/run/wk.sock
  tls: { certificate: /nowhere/tls.pem, key: /nowhere/tls.key }
",
    );
    assert_eq!(code, Some(78));
    insta::assert_snapshot!(said, @r"
    app.yaml:1:44: expected permissions in octal digits, such as 0660, found `4755` (from 0600 to 0777)
    app.yaml:3:3: admin and http can't both listen on unix:/run/wk.sock: give them different paths
    app.yaml:4:23: the certificate file /nowhere/tls.pem can't be read: No such file or directory (os error 2)
    ");
}

/// Has the folder's files hold what was issued.
fn install(folder: &Path, issued: &Issued) {
    std::fs::copy(&issued.certificate, folder.join("tls.pem")).unwrap();
    std::fs::copy(&issued.key, folder.join("tls.key")).unwrap();
}

/// Serves its admin door over TLS.
fn serve_over_tls(issued: &Issued) -> (Served, SocketAddr) {
    let folder = folder(
        "http: { listen: '127.0.0.1:0' }
admin: { listen: '127.0.0.1:0', tls: { certificate: tls.pem, key: tls.key } }
",
    );
    install(folder.path(), issued);
    let program = Program::spawn(wellkept(folder.path()).arg("serve"));
    let http = listening(&program, "probes and metrics on http://");
    let admin = listening(&program, "status page and details on https://");
    (Served { program, http, folder }, admin)
}

/// When the certificate ends that is presented now.
fn not_after(authority: &Authority, address: SocketAddr) -> Result<SystemTime, TlsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let client = Client::with_ca_file(&authority.ca_file()).unwrap();
        let stream = client.connect(stream, "localhost", tokio::time::Instant::now() + PATIENCE).await?;
        Ok(Session::of(&stream).not_after.unwrap())
    })
}

#[test]
fn a_certificate_is_renewed_by_a_reload_and_a_bad_one_changes_nothing() {
    let authority = Authority::new();
    let (mut served, admin) = serve_over_tls(&authority.issue("localhost", 30));
    let first = not_after(&authority, admin).unwrap();
    served.reload_as_it_is("unchanged");

    install(served.folder.path(), &authority.issue("localhost", 90));
    served.reload_as_it_is("applied");
    let second = not_after(&authority, admin).unwrap();
    assert!(second > first);
    let renewed = served.wait_for(|line| line["message"] == "the certificate is renewed");
    assert_eq!(renewed["door"], "admin");
    assert!(renewed["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{renewed}");

    // The key of another certificate.
    std::fs::copy(authority.issue("elsewhere", 90).key, served.folder.path().join("tls.key")).unwrap();
    let refused = served.reload_as_it_is("rejected");
    let error = refused["error"].as_str().unwrap();
    assert!(
        error.ends_with(
            "the key file tls.key does not belong to the certificate file tls.pem: name the one that it was issued for"
        ),
        "{error}"
    );
    assert!(error.contains("wellkept.yaml:2:"), "{error}");
    assert_eq!(not_after(&authority, admin).unwrap(), second);

    // One that has ended is taken, with a warning: nobody would be served the better for refusing it.
    install(served.folder.path(), &authority.issue("localhost", -1));
    served.reload_as_it_is("applied");
    served.wait_for(|line| {
        line["message"].as_str().is_some_and(|said| said.starts_with("admin: tls.pem: the certificate has ended at "))
    });
    assert_eq!(not_after(&authority, admin).unwrap_err().code(), "tls");
    let checked = run(served.folder.path(), &["config", "check", "wellkept.yaml"]);
    assert_eq!(checked.status.code(), Some(0));
    assert!(text(&checked.stdout).contains("warning: admin: tls.pem: the certificate has ended at "));
    // TLS itself comes and goes with a restart.
    let line = served.reload("http: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0' }\n", "restart_required");
    assert_eq!(line["outcome"], "restart_required");
    let keys = served.wait_for(|line| line["keys"].is_string());
    assert_eq!(keys["keys"], "admin.tls");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn the_commands_ask_over_tls_whom_the_system_trusts() {
    let authority = Authority::new();
    let (mut served, admin) = serve_over_tls(&authority.issue("localhost", 30));
    let address = format!("https://localhost:{}", admin.port());
    let status = |trusting: bool| {
        let mut command = wellkept(served.folder.path());
        if trusting {
            command.env("SSL_CERT_FILE", authority.ca_file());
        }
        wait_within(PATIENCE, command.args(["status", "--server", &address])).unwrap()
    };
    until_some(PATIENCE, "the status to be told", || (status(true).status.code() == Some(0)).then_some(()));
    let untrusting = status(false);
    assert_eq!(untrusting.status.code(), Some(69), "{}", text(&untrusting.stdout));
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn the_log_of_a_start_that_fails_is_closed_with_its_books_as_well() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("wellkept.yaml"), "checks: []\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["serve", "--listen", &address]);
    assert_ne!(output.status.code(), Some(0));
    let lines = text(&output.stdout);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["message"], &last["pending"]), (&"log closed".into(), &0.into()), "{lines}");
    assert_eq!(last["written"], lines.lines().count(), "{lines}");
}
