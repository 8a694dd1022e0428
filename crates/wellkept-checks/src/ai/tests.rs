//! What providers answer, replayed by a small server: the statuses, headers and error bodies that their documentation
//! shows. No provider was asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::testing::{PLANTED, assert_keeps_secrets, configured, reason, run};

/// Replays documented answers by path, and tells each request's head.
struct Replay {
    url: Url,
    heads: mpsc::UnboundedReceiver<String>,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Replay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answers = Arc::<Mutex<BTreeMap<String, String>>>::default();
        let (tell, heads) = mpsc::unbounded_channel();
        let replayed = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let answer = replayed.lock().unwrap().get(&path).cloned();
                let answer = answer.unwrap_or_else(|| of(404, "", "{}"));
                let _ = tell.send(head);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, heads, answers }
    }

    fn answers(&self, path: &str, answer: String) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    fn check(&self, provider: Provider, model: Option<&str>) -> Ai {
        let options = Options {
            url: Some(self.url.clone()),
            key: Some(PLANTED.into()),
            model: model.map(ToOwned::to_owned),
            ..Options::new(provider)
        };
        Ai::new(options).unwrap()
    }
}

fn of(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} S\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

/// A quota failure as Google documents it.
fn gemini_quota(id: &str, value: &str, delay: &str) -> String {
    let error = serde_json::json!({ "error": {
        "code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED", "details": [
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure",
              "violations": [{ "quotaMetric": "m", "quotaId": id, "quotaValue": value }] },
            { "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay },
        ],
    } });
    of(429, "", &error.to_string())
}

#[tokio::test]
async fn refusals_are_told_apart_as_the_providers_document_them() {
    use Provider::{Anthropic, Gemini, LiteLlm, Ollama, OpenAi, Vllm};
    let gemini_key = r#"{"error":{"code":400,"message":"API key not valid: hunter2-planted","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#;
    let openai_key = r#"{"error":{"message":"Incorrect API key provided: hunter2-planted","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let unpaid = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    let rate = r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    let spent = r#"{"type":"error","error":{"type":"rate_limit_error","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
    let busy = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for (provider, answer, why) in [
        (Gemini, of(400, "", gemini_key), "auth"),
        (Gemini, of(403, "", "{}"), "auth"),
        (Gemini, of(404, "", "{}"), "model_missing"),
        (Gemini, gemini_quota("GenerateRequestsPerMinutePerProject", "15", "34s"), "quota"),
        (Gemini, gemini_quota("GenerateRequestsPerDayPerProject", "50", "34s"), "day_quota"),
        (Gemini, gemini_quota("GenerateRequestsPerDayPerProject", "0", "34s"), "not_entitled"),
        (Gemini, of(402, "", "{}"), "budget"),
        (Gemini, of(503, "", r#"{"error":{"status":"UNAVAILABLE"}}"#), "overloaded"),
        (Gemini, of(400, "", r#"{"error":{"status":"FAILED_PRECONDITION"}}"#), "unexpected"),
        (OpenAi, of(401, "", openai_key), "auth"),
        (OpenAi, of(429, "", unpaid), "budget"),
        (OpenAi, of(429, "retry-after: 20\r\n", rate), "quota"),
        (OpenAi, of(500, "", "no JSON"), "unexpected"),
        (Anthropic, of(401, "", "{}"), "auth"),
        (Anthropic, of(429, "", spent), "budget"),
        (Anthropic, of(429, "retry-after: 12\r\n", "{}"), "quota"),
        (Anthropic, of(529, "", busy), "overloaded"),
        (Ollama, of(500, "", "{}"), "not_ready"),
        (Vllm, of(503, "", "{}"), "not_ready"),
        (LiteLlm, of(429, "", r#"{"error":{"type":"budget_exceeded","code":"429"}}"#), "budget"),
    ] {
        let replay = Replay::start().await;
        let check = replay.check(provider, Some("m"));
        for path in ["/v1beta/models/m", "/v1/models/m", "/v1/models", "/api/tags"] {
            replay.answers(path, answer.clone());
        }
        let outcome = run(&check).await;
        assert_eq!(reason(&outcome), why, "{provider:?}: {answer} {outcome:?}");
        let degraded = ["quota", "day_quota", "overloaded"].contains(&why);
        assert_eq!(outcome.verdict() == Verdict::Warn, degraded, "{outcome:?}");
        assert_keeps_secrets(&outcome);
        assert!(!outcome.message().contains('{') && !format!("{check:?}").contains(PLANTED));
    }
}

#[tokio::test]
async fn a_model_is_looked_for_without_a_token_and_the_key_is_in_a_header() {
    use Provider::{Anthropic, Gemini, LiteLlm, Ollama, OpenAi, Vllm};
    let listed = r#"{"object":"list","data":[{"id":"m"},{"id":"org/other"}]}"#;
    for (provider, path, body, header) in [
        (Gemini, "/v1beta/models/m", r#"{"name":"models/m"}"#, "x-goog-api-key"),
        (OpenAi, "/v1/models/m", r#"{"id":"m","object":"model"}"#, "authorization: Bearer"),
        (Anthropic, "/v1/models/m", r#"{"type":"model","id":"m"}"#, "x-api-key"),
        (Ollama, "/api/tags", r#"{"models":[{"name":"m:latest"}]}"#, "authorization"),
        (Vllm, "/v1/models", listed, "authorization"),
        (LiteLlm, "/v1/models", listed, "authorization"),
    ] {
        let mut replay = Replay::start().await;
        replay.answers(path, of(200, "", body));
        replay.answers("/metrics", of(200, "", ""));
        let outcome = run(&replay.check(provider, Some("m"))).await;
        assert_eq!(reason(&outcome), "pass", "{provider:?}: {outcome:?}");
        let head = replay.heads.recv().await.unwrap();
        let (first, rest) = head.split_once("\r\n").unwrap();
        assert_eq!(first, format!("GET {path} HTTP/1.1"), "{provider:?}");
        assert!(rest.contains(header) && rest.contains(PLANTED), "{head}");
        let missing = run(&replay.check(provider, Some("gone"))).await;
        assert_eq!(reason(&missing), "model_missing", "{provider:?}: {missing:?}");
        replay.answers(path, of(200, "", "<html>"));
        assert_eq!(reason(&run(&replay.check(provider, Some("m"))).await), "protocol", "{provider:?}");
    }
}

#[tokio::test]
async fn a_provider_that_asks_to_be_left_alone_is() {
    let mut replay = Replay::start().await;
    replay.answers("/v1beta/models?pageSize=1", gemini_quota("RequestsPerMinute", "15", "3000.5s"));
    let check = replay.check(Provider::Gemini, None);
    assert_eq!(run(&check).await.metadata()["retry_in_ms"], 3_000_500);
    replay.heads.recv().await.unwrap();
    replay.answers("/v1beta/models?pageSize=1", of(200, "", r#"{"models":[]}"#));
    let outcome = run(&check).await;
    assert_eq!(reason(&outcome), "quota");
    assert!(outcome.metadata()["retry_in_ms"].as_u64().unwrap() < 3_000_500);
    assert!(replay.heads.try_recv().is_err(), "it was asked all the same");
    *check.quiet.lock().unwrap() = Some((Instant::now(), outcome));
    assert_eq!(reason(&run(&check).await), "pass", "and asked again when its time is up");
}

#[tokio::test]
async fn an_engine_that_runs_requests_and_makes_no_token_hangs_although_it_answers() {
    let replay = Replay::start().await;
    replay.answers("/v1/models", of(200, "", r#"{"data":[{"id":"m"}]}"#));
    let metrics = |running: u32, tokens: u32| {
        let text = format!(
            "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{engine=\"0\",model_name=\"m\"}} {running}.0\n\
             vllm:prompt_tokens_total{{model_name=\"m\"}} 40.0\nvllm:generation_tokens_total{{model_name=\"m\"}} {tokens}.0\n"
        );
        replay.answers("/metrics", of(200, "", &text));
    };
    let options = Options { url: Some(replay.url.clone()), stalled_after: Duration::ZERO, ..Options::new(Provider::Vllm) };
    let patient = Ai::new(Options { stalled_after: Duration::from_secs(3600), ..options.clone() }).unwrap();
    metrics(3, 100);
    for _ in 0..2 {
        assert_eq!(reason(&run(&patient).await), "pass", "it may read a long prompt");
    }
    let progress = |running, tokens, progress: &mut Progress| {
        metrics(running, tokens);
        let body = replay.answers.lock().unwrap()["/metrics"].split_once("\r\n\r\n").unwrap().1.to_owned();
        let response = Response {
            status: crate::fetch::StatusCode::OK,
            headers: crate::fetch::header::HeaderMap::new(),
            body: body.into(),
            truncated: false,
            http2: false,
            not_after: None,
            trailers: crate::fetch::header::HeaderMap::new(),
        };
        reason(&progress.judge(Outcome::pass(), &response)).to_owned()
    };
    let mut seen = Progress::new(Duration::from_nanos(1));
    assert_eq!(progress(3, 100, &mut seen), "pass", "nothing is known of it yet");
    assert_eq!(progress(3, 100, &mut seen), "stalled");
    assert_eq!(progress(3, 101, &mut seen), "pass", "it gets on");
    assert_eq!(progress(0, 101, &mut seen), "pass", "it has nothing to do");
    assert_eq!(progress(1, 101, &mut seen), "stalled");
    assert_eq!(progress(1, 7, &mut seen), "pass", "it was started again");
}

#[tokio::test]
async fn what_the_applications_own_calls_say_counts_too() {
    let replay = Replay::start().await;
    replay.answers("/v1/models", of(200, "", r#"{"data":[]}"#));
    let check = replay.check(Provider::OpenAi, None);
    let calls = check.calls();
    for _ in 0..9 {
        calls.report(AiCall::Failed);
    }
    assert_eq!(reason(&run(&check).await), "pass", "nine calls say nothing");
    calls.report(AiCall::Limited);
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), outcome.message()), ("calls_failed", "most of the calls fail"));
    assert_eq!(outcome.metadata()["status"], 200);
    for _ in 0..10 {
        calls.report(AiCall::Answered);
    }
    let outcome = run(&check).await;
    assert_eq!((reason(&outcome), &outcome.metadata()["calls"]["total"]), ("quota", &20.into()));
    for _ in 0..5000 {
        calls.report(AiCall::Answered);
    }
    assert_eq!(run(&check).await.metadata()["calls"]["total"], 1000);
}

#[test]
fn a_key_in_the_url_and_two_keys_are_refused() {
    configured("ai: { provider: gemini, key: secret, model: models/gemini-x }").unwrap();
    for (text, said) in [
        (format!("ai: {{ provider: gemini, url: 'https://x.example/?key={PLANTED}' }}"), "must have no query"),
        (format!("ai: {{ provider: openai, key: {PLANTED}, key_file: /x }}"), "take one of the two"),
        ("ai: { provider: openai, key_file: /no/such/file }".to_owned(), "can't be read"),
        ("ai: { provider: opena }".to_owned(), "did you mean `openai`?"),
    ] {
        let reported = configured(&text).unwrap_err();
        assert!(reported.contains(said) && !reported.contains(PLANTED), "{reported}");
    }
    let joined = |base: &str, path: &[&str]| provider::joined(&base.parse().unwrap(), path).to_string();
    assert_eq!(joined("http://x/v1/", &["v1", "models"]), "http://x/v1/models");
    assert_eq!(joined("http://x/ai/v1", &["metrics"]), "http://x/ai/metrics");
    assert_eq!(joined("http://x", &["v1", "models", "a b"]), "http://x/v1/models/a%20b");
}
