//! `wellkept check --kind KIND --KEY VALUE …`: one check without a file and without a shell.

use std::process::Output;

use serde_json::Value;
use wellkept_testkit::{
    Authority, Memcached, Mysql, Nats, Nginx, Postgres, Redis, Smtp, SmtpOptions, Tansu, free_address, wait_within,
};

use crate::served::{PATIENCE, Served, listening, run, text, wellkept};

const PLANTED: &str = "hunter2-planted";

/// As a HEALTHCHECK runs it: the words as they are, and what they name in the environment.
fn check(words: &[&str], environment: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut command = wellkept(folder.path());
    command.arg("check").args(words).envs(environment.iter().copied());
    wait_within(PATIENCE, &mut command).expect("the program runs and ends")
}

#[test]
fn each_kind_is_asked_without_a_file() {
    let (postgres, redis) = (Postgres::shared(), Redis::shared());
    let authority = Authority::new();
    let (issued, ca_file) = (authority.issue("127.0.0.1", 90), authority.ca_file().display().to_string());
    let (certificate, key) = (issued.certificate.display(), issued.key.display());
    let nginx = Nginx::with("ssl", &format!("ssl_certificate {certificate}; ssl_certificate_key {key};"));
    let secure = nginx.address().to_string();
    let nats = Nats::with("jetstream: enabled\n");
    let nats_url = nats.url();
    let memcached = Memcached::with(&[]);
    let memcached_url = memcached.url();
    let smtp = Smtp::with(SmtpOptions::default());
    let smtp_url = format!("smtp://{}", smtp.address());
    let tansu = Tansu::start();
    let broker = tansu.address().to_string();
    let served = Served::with("checks: []\ngrpc: { listen: '127.0.0.1:0' }\n");
    served.until_ready(true);
    let grpc = format!("http://{}", listening(&served.program, "gRPC health"));
    let (address, url) = (served.http.to_string(), format!("http://{}/health", served.http));
    let mysql = Mysql::start();
    let mysql_url = mysql.url();
    let environment = [
        ("DATABASE_URL", postgres.url()),
        ("REDIS_URL", redis.url()),
        ("ADDRESS", &address),
        ("PAGE_URL", &url),
        ("MYSQL_URL", &mysql_url),
    ];
    let room = ["--degraded_below=0%", "--unhealthy_below=0%"];
    for words in [
        &["--kind", "postgres", "--url", "${DATABASE_URL}", "--query=SELECT 2"][..],
        &["--kind", "mysql", "--url", "${MYSQL_URL}", "--query=SELECT 2", "--role", "primary"],
        &["--kind", "redis", "--url", "${REDIS_URL}"],
        &["--kind", "http", "--url", "${PAGE_URL}", "--expect.status", "200", "--expect.json.$.status", "healthy"],
        &["--kind", "upstream", "--url", "${PAGE_URL}", "--format", "wellkept"],
        &["--kind", "tcp", "--address", "${ADDRESS}"],
        &["--kind", "tcp", "--address", "${ADDRESS}", r"--send=GET /livez HTTP/1.0\r\n\r\n", "--expect", " 200 OK"],
        &["--kind", "tls", "--address", &secure, "--ca_file", &ca_file, "--certificate.degraded_below", "30d"],
        &["--kind", "dns", "--name", "localhost", "--expect", "127.0.0.1"],
        &["--kind", "grpc", "--url", &grpc, "--service", "readiness"],
        &["--kind", "memcached", "--url", &memcached_url],
        &["--kind", "nats", "--url", &nats_url, "--jetstream", "true"],
        &["--kind", "smtp", "--url", &smtp_url, "--capabilities", "SIZE"],
        &["--kind", "disk", "--path", "/", room[0], room[1]],
        &["--kind", "kafka", "--brokers", &broker, "--brokers", "127.0.0.1:1", "--min_brokers", "1"],
        &["--kind", "memory", "--degraded_above", "100%", "--unhealthy_above", "100%"],
        &["--kind", "cpu", "--degraded_above", "100%", "--throttled_above", "100%"],
        &["--kind", "system"],
        &["--kind", "pressure", "--average", "avg60", "--cpu.some_degraded_above", "100%"],
        &["--kind", "files", "--of", "machine"],
        &["--kind", "processes", "--name", "wellkept", "--cmdline", "wellkept*serve*--listen"],
    ] {
        // What is claimed is that each is asked, not how soon a busy machine answers.
        let words = [words, &["--json", "--timeout", "15s"]].concat();
        let output = check(&words, &environment);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json["components"][words[1]]["metadata"].is_object(), "{words:?}: {said}");
    }
}

#[test]
fn a_mysql_server_is_asked_over_tls_that_is_verified_for_the_hosts_name() {
    let authority = Authority::new();
    let ca_file = authority.ca_file().display().to_string();
    let right = Mysql::start_with_tls(&authority.issue("127.0.0.1", 90));
    let wrong = Mysql::start_with_tls(&authority.issue("db.example", 90));
    let url = |server: &Mysql, mode: &str| format!("{}?ssl-mode={mode}", server.url());
    let trusting = [("SSL_CERT_FILE", ca_file.as_str())];
    for (url, environment, code, said) in [
        (url(&right, "verify_identity"), &trusting[..], 0, "healthy"),
        (url(&right, "required"), &[], 1, "certificate is not trusted"),
        (url(&wrong, "verify_ca"), &trusting, 1, "certificate is for another name"),
        (url(&wrong, "preferred"), &[], 0, "healthy"),
    ] {
        let output = check(&["--kind", "mysql", "--url", &url], environment);
        let text = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn its_exit_code_is_one_for_docker_or_one_for_a_monitoring_system() {
    let closed = free_address().to_string();
    let refused = ["--kind", "tcp", "--address", &closed];
    let output = check(&refused, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("refused"));
    let tight = ["--kind", "disk", "--path", "/", "--degraded_below", "100%", "--unhealthy_below", "0%"];
    assert_eq!(check(&tight, &[]).status.code(), Some(0), "degraded is ready");
    let mistaken = ["--kind", "tcp", "--adress", &closed];
    assert_eq!(check(&mistaken, &[]).status.code(), Some(64));
    for (words, code, begin) in [
        (&tight[..], 1, "WELLKEPT WARNING - 0 of 1 healthy: disk degraded (threshold) | 'disk'="),
        (&refused, 2, "WELLKEPT CRITICAL - 0 of 1 healthy: tcp unhealthy (refused) | 'tcp'="),
        (&mistaken, 3, "WELLKEPT UNKNOWN - missing key `address` in `tcp`"),
    ] {
        let output = check(&[words, &["--nagios"]].concat(), &[]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.starts_with(begin), "{said}");
    }
}

#[test]
fn no_secret_of_a_one_liner_is_ever_shown() {
    let url = format!("postgres://app:{PLANTED}@127.0.0.1:1/orders?token={PLANTED}");
    let with = |scheme: &str| format!("{scheme}://app:{PLANTED}@127.0.0.1:1");
    let environment = [("DATABASE_URL", url.as_str())];
    for words in [
        &["--kind", "postgres", "--url", "${DATABASE_URL}"][..],
        &["--kind", "postgres", "--url", &url],
        &["--kind", "postgres", &url],
        &["--kind", "http", "--url", &url],
        &["--kind", "tcp", "--address", "${DATABASE_URL}"],
        &["--kind", "nats", "--url", &with("nats")],
        &["--kind", "memcached", "--url", &with("memcached")],
        &["--kind", "smtp", "--url", &with("smtp")],
        &["--kind", "smtp", "--url", &with("ftp")],
        &["--kind", "postgres", "--url", "${DATABASE_URL}", "--timeout", "${DATABASE_URL}"],
        &["--kind", "postgres", "--url", "${DATABASE_URL}", "--query", "${DATABASE_URL}"],
        &["--kind", "http", "--url", "http://127.0.0.1:1/", "--headers.authorization", PLANTED],
        &["--kind", &url],
    ] {
        for format in [&[][..], &["--json"], &["--nagios"], &["--help"]] {
            let output = check(&[words, format].concat(), &environment);
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(!said.is_empty() && !said.contains(PLANTED), "{words:?} {format:?}: {said}");
        }
    }
}

#[test]
fn help_shows_the_keys_of_a_kind_wherever_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let after = run(folder.path(), &["check", "--kind", "tcp", "--help"]);
    assert_eq!(after.status.code(), Some(0));
    insta::assert_snapshot!(text(&after.stdout), @r#"
    Whether an address accepts TCP connections, and says what is expected.

    Usage: wellkept check --kind tcp [--KEY VALUE]... [--timeout DURATION] [--json | --nagios]

    Keys, as below the kind in a configuration:
      --address VALUE
          Where to connect to, as `host:port`, an IPv6 address in brackets. (text; required)
      --send VALUE
          What is sent once the connection stands, with `\r`, `\n`, `\t`, `\0`, `\\` and `\x7f` for
          single bytes. Never shown, as it may hold a password. (text such as PING\r\n; default:
          nothing)
      --expect VALUE
          What has to be in what comes then, anywhere in its first 64 KiB, written likewise. (text such
          as PING\r\n; default: nothing, an accepted connection is enough)
      --timeout DURATION
          How long it may take. (duration such as 10s or 250ms; default: 2s)

    Rights: None. What `send` says is done.

    Cost: One connection per run, closed as soon as it is accepted or what is expected has come; at most
    64 KiB are read.

    The same in a configuration:

    checks:
      - name: tcp
        tcp: { address: "10.0.0.1:11211", send: 'version\r\n', expect: "VERSION " }
    "#);
    let before = run(folder.path(), &["check", "--help", "--kind=tcp"]);
    assert_eq!(text(&before.stdout), text(&after.stdout));
    assert!(text(&run(folder.path(), &["check", "--help"]).stdout).contains("--kind <KIND>"));
}
