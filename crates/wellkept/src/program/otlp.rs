//! The section `otlp`: where the program pushes its metrics. It has no work of its own to trace.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use wellkept_config::Section;

use crate::otlp::{self, Options};

/// A push more often than this is a mistake, or an attack on the receiver.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// Reads `otlp: { endpoint: "http://collector:4318", headers: {…}, attributes: {…}, interval: 15s, timeout: 10s }`.
pub(super) fn read(section: &mut Section<'_>, service: &str, version: &str) -> Option<Options> {
    section.describe(&[
        ("endpoint", "The receiver of OTLP over HTTP: `http://collector:4318`."),
        ("headers", "What is sent along as headers, by name, such as an access key. Default: nothing."),
        ("headers.<name>", "The header's value. Default: nothing."),
        ("attributes", "What is said of the service beside its name and version, by name. Default: nothing."),
        ("attributes.<name>", "The attribute's value. Default: nothing."),
        ("interval", "How often metrics are pushed, from 1s to 1h."),
        ("timeout", "How long one push may take, from 1s to 1h."),
    ]);
    let default = Options::default();
    // It may hold a password, so no message shows it.
    let endpoint = section.required::<SecretString>("endpoint");
    let headers = named(section, "headers");
    let attributes = named(section, "attributes");
    let interval = section.or("interval", default.interval);
    let timeout = section.or("timeout", default.timeout);
    section.complete();
    for (key, time) in [("interval", interval), ("timeout", timeout)] {
        if !(SHORTEST..=LONGEST).contains(&time) {
            let at = section.position_of(key);
            section.report(at, "config.range", "it must be from 1s to 1h");
        }
    }
    let options = Options {
        endpoint: endpoint?.expose_secret().to_owned(),
        headers,
        attributes,
        interval,
        timeout,
        service: service.to_owned(),
        version: version.to_owned(),
        ..default
    };
    if let Err(error) = otlp::check(&options) {
        let at = section.position_of(if error.is_of_a_header() { "headers" } else { "endpoint" });
        section.report(at, error.code(), error.to_string());
    }
    Some(options)
}

/// A mapping with free keys.
fn named(section: &mut Section<'_>, key: &'static str) -> Vec<(String, String)> {
    let entries = section.entries(key).unwrap_or_default();
    let value = |(name, _, node)| Some((name, section.value::<SecretString>(node)?.expose_secret().to_owned()));
    entries.into_iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use crate::program::Configuration;

    fn parse(text: &str) -> Result<Configuration, String> {
        let text = format!("service: {{ name: orders, version: 1.4.2 }}\n{text}\n");
        let environment = |name: &str| (name == "KEY").then(|| "canary".into());
        Configuration::parse("wellkept.yaml", &text, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_section_is_read_with_the_services_name() {
        let text = "otlp: { endpoint: 'http://collector:4318', headers: { api-key: '${KEY}' }, attributes: { zone: a }, interval: 30s }";
        let options = parse(text).unwrap().otlp.unwrap();
        assert_eq!((&*options.endpoint, options.interval.as_secs()), ("http://collector:4318", 30));
        assert_eq!((&*options.service, &*options.version), ("orders", "1.4.2"));
        assert_eq!(options.headers, [("api-key".to_owned(), "canary".to_owned())]);
        assert_eq!(options.attributes, [("zone".to_owned(), "a".to_owned())]);
        assert!(parse("").unwrap().otlp.is_none());
    }

    #[test]
    fn what_is_wrong_with_the_section_is_told_with_its_line_and_without_a_secret() {
        for (section, told) in [
            ("{ interval: 5s }", "endpoint"),
            ("{ endpoint: 'collector:4318' }", "http://"),
            ("{ endpoint: 'http://u:canary@[h' }", "http://"),
            ("{ endpoint: 'http://h', headers: { 'a b': canary } }", "a header's name"),
            ("{ endpoint: 'http://h', interval: 10ms }", "from 1s to 1h"),
            ("{ endpoint: 'http://h', timeout: 0s }", "from 1s to 1h"),
            ("{ endpoint: 'http://h', intervall: 5s }", "interval"),
        ] {
            let error = parse(&format!("otlp: {section}")).unwrap_err();
            assert!(error.contains(told) && error.contains("wellkept.yaml:2"), "{section}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
