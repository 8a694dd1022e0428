//! What becomes of redirects.

use super::*;

fn leading_to(place: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n")
}

fn following(url: Url, follow: u8, to: RedirectTo) -> Http {
    let headers = vec![("X-Api-Key".to_owned(), SecretString::from(PLANTED))];
    let redirects = Redirects { follow, to };
    Http::new(Options { headers, redirects, ..Options::new(url) }).unwrap()
}

/// The same server, by a name of its own.
fn by_name(server: &Server) -> Url {
    format!("http://localhost:{}/", server.address.port()).parse().unwrap()
}

#[tokio::test]
async fn a_redirect_is_followed_within_the_host_and_what_is_there_counts() {
    let end = Server::with_json("503 Service Unavailable", "").await;
    let start = Server::start(leading_to(&format!("http://{}/there", end.address))).await;
    let outcome = run(&following(start.url("/"), 1, RedirectTo::SameHost)).await;
    assert_eq!(outcome.message(), "unexpected status 503", "{outcome:?}");
    assert_eq!((&outcome.metadata()["status"], &outcome.metadata()["redirects"]), (&503.into(), &1.into()));
}

#[tokio::test]
async fn a_relative_place_is_one_of_the_same_server_and_a_circle_ends() {
    let mut server = Server::start(leading_to(&format!("/next?token={PLANTED}"))).await;
    let outcome = run(&following(server.url("/"), 2, RedirectTo::SameHost)).await;
    assert_eq!((reason(&outcome), outcome.message()), ("unexpected", "redirected too often"));
    assert_keeps_secrets(&outcome);
    let asked = [server.asked().await, server.asked().await, server.asked().await];
    assert!(asked[2].starts_with(&format!("GET /next?token={PLANTED} HTTP/1.1\r\n")), "{asked:?}");
    assert!(asked[2].contains("x-api-key"), "{asked:?}");
    assert!(server.requests.is_empty());
}

#[tokio::test]
async fn another_host_is_asked_only_where_that_is_said_and_gets_no_secrets() {
    let mut end = Server::with_json("200 OK", "").await;
    let mut place = by_name(&end);
    place.set_username("user").unwrap();
    place.set_password(Some(PLANTED)).unwrap();
    let start = Server::start(leading_to(place.as_str())).await;
    let outcome = run(&following(start.url("/"), 3, RedirectTo::SameHost)).await;
    assert_eq!(outcome.message(), "redirect not followed: it leads to another host");
    assert_eq!(outcome.detail(), format!("it leads to http://localhost:{}", end.address.port()));
    assert!(end.requests.is_empty());

    let outcome = run(&following(start.url("/"), 3, RedirectTo::Any)).await;
    assert_eq!(reason(&outcome), "pass", "{outcome:?}");
    let asked = end.asked().await;
    assert!(asked.contains(&format!("host: localhost:{}\r\n", end.address.port())), "{asked}");
    assert!(!asked.contains(PLANTED) && !asked.contains("authorization"), "{asked}");
}

#[tokio::test]
async fn another_port_of_the_same_host_gets_no_secrets_either() {
    let mut end = Server::with_json("200 OK", "").await;
    let start = Server::start(leading_to(end.url("/").as_str())).await;
    assert_eq!(reason(&run(&following(start.url("/"), 1, RedirectTo::SameHost)).await), "pass");
    let asked = end.asked().await;
    assert!(!asked.contains(PLANTED) && asked.contains("user-agent: wellkept/"), "{asked}");
}

#[tokio::test]
async fn a_redirect_to_nowhere_says_so() {
    for place in ["ftp://elsewhere/", "http://", "mailto:a@b"] {
        let server = Server::start(leading_to(place)).await;
        let outcome = run(&following(server.url("/"), 1, RedirectTo::Any)).await;
        assert_eq!(outcome.message(), "redirect not followed: it does not say where to", "{place}: {outcome:?}");
    }
}
