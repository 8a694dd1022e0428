//! Who is let in, how, and how safely, by a real MariaDB.

use wellkept_testkit::Authority;

use super::*;

#[tokio::test]
async fn a_login_that_mysql_refuses_is_an_auth_failure_that_does_not_show_it() {
    let server = Server::start();
    let port = server.port();
    for (url, message, code) in [
        (server.url_with_password(PLANTED), "password not accepted", "1045 28000: "),
        (format!("mysql://wellkept@127.0.0.1:{port}"), "password not accepted", "1045 28000: "),
        (format!("mysql://nobody:{PLANTED}@127.0.0.1:{port}"), "password not accepted", "1045 28000: "),
        (format!("{}/app", server.url_of_new_user("plain")), "database not permitted", "1044 42000: "),
    ] {
        let outcome = run(&check(url)).await;
        assert_eq!((reason(&outcome), outcome.message()), ("auth", message), "{outcome:?}");
        assert!(outcome.detail().starts_with(code), "{outcome:?}");
        assert_keeps_secrets(&outcome);
    }
    let outcome = run(&check(server.url().replace("/app", "/no_such"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("error", "database does not exist"));
    let outcome = run(&check_with_query(server.url_of_new_user("curious"), "SELECT * FROM mysql.global_priv")).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "query not permitted"));
    server.execute("alter user plain@'%' account lock");
    let outcome = run(&check(format!("mysql://plain:x@127.0.0.1:{port}"))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "user is locked or the password expired"));
}

#[tokio::test]
async fn a_login_method_that_is_not_ours_is_named() {
    let server = Server::start();
    server.execute("install soname 'auth_ed25519'");
    server.execute("create user ed@'%' identified via ed25519 using password('x')");
    let outcome = run(&check(format!("mysql://ed:{PLANTED}@127.0.0.1:{}", server.port()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("auth", "login failed"));
    assert_eq!(outcome.detail(), "the server wants the login method client_ed25519, which is not supported");
}

#[tokio::test]
async fn a_user_without_a_password_and_one_with_signs_in_it_are_let_in() {
    let server = Server::start();
    server.execute("create user open@'%'; create user signs@'%' identified by 'p@ss:w/rd?# %é'");
    for user in ["open", "signs:p%40ss%3Aw%2Frd%3F%23%20%25%C3%A9"] {
        let outcome = run(&check(format!("mysql://{user}@127.0.0.1:{}", server.port()))).await;
        assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    }
}

#[tokio::test]
async fn tls_to_mysql_is_used_when_there_is_some_and_verified_when_required() {
    let without = Server::start();
    let outcome = run(&check(format!("{}?ssl-mode=required", without.url()))).await;
    assert_eq!((reason(&outcome), outcome.message()), ("tls", "TLS handshake failed"));
    assert_eq!(outcome.detail(), "server does not support TLS");
    let encrypted = configured_check(&without.url(), "query: \"show status like 'Ssl_version'\", expect: Ssl_version");
    assert_eq!(reason(&run(&encrypted).await), "pass");

    let authority = Authority::new();
    let server = Server::start_with_tls(&authority.issue("127.0.0.1", 90));
    let version = "select variable_value from information_schema.session_status where variable_name = 'Ssl_version'";
    let asked = |url: String, expect: &str| configured_check(&url, &format!("query: \"{version}\", expect: '{expect}'"));
    assert_eq!(reason(&run(&asked(server.url(), "TLSv1.3")).await), "pass");
    assert_eq!(reason(&run(&asked(format!("{}?ssl-mode=DISABLED", server.url()), "")).await), "pass");
    for mode in ["REQUIRED", "verify_ca", "VERIFY_IDENTITY"] {
        let outcome = run(&check(format!("{}?ssl-mode={mode}", server.url()))).await;
        assert_eq!((reason(&outcome), outcome.message()), ("tls", "certificate is not trusted"), "{mode}: {outcome:?}");
    }
    // Fifty more over the same connection, in records of TLS.
    let check = asked(server.url(), "TLSv1.3");
    for _ in 0..50 {
        assert_eq!(reason(&run(&check).await), "pass");
    }
    assert_eq!(server.execute(SESSIONS), "1");

    server.execute("create user safe@'%' identified by 'x' require ssl");
    let url = format!("mysql://safe:x@127.0.0.1:{}", server.port());
    assert_eq!(reason(&run(&asked(url.clone(), "TLSv1.3")).await), "pass");
    assert_eq!(reason(&run(&asked(format!("{url}?ssl-mode=disabled"), "")).await), "auth");
}

#[tokio::test]
async fn a_unix_socket_of_mysql_is_asked_like_any_other_host() {
    let server = Server::start();
    let socket = server.socket().display().to_string();
    let user = server.url().split('@').next().unwrap().to_owned();
    let outcome = run(&check(format!("{user}@localhost/app?socket={socket}&ssl-mode=required"))).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let outcome = run(&check(format!("{user}@localhost/app?socket={socket}-none"))).await;
    assert_eq!(reason(&outcome), "refused", "{outcome:?}");
    assert!(!outcome.message().contains("socket"));
}
