//! `amqps://`: a broker of our own whose certificate nobody else knows.

mod support;

use std::net::TcpListener;
use std::process::Command;

use factum::integration::Answer;
use factum_launcher as launcher;

use support::{Namespace, envelope, publish_one, read, subscribe};

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_trusted_by_the_authority_that_was_named_and_by_no_other() {
    const NAME: &str = "a_broker_is_trusted_by_the_authority_that_was_named_and_by_no_other";
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let made = Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext".split(' '))
        .args(["subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &at("key.pem"), "-out", &at("certificate.pem")])
        .output();
    let Ok(made) = made else {
        eprintln!(
            "SKIPPED: {NAME}: no openssl to make a certificate with; install it by `apt-get install openssl`"
        );
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (listener, certificate, key) = (format!("127.0.0.1:{port}"), at("certificate.pem"), at("key.pem"));
    let settings = [
        ("listeners.ssl.1", &*listener),
        ("ssl_options.certfile", &*certificate),
        ("ssl_options.keyfile", &*key),
        ("ssl_options.verify", "verify_none"),
    ];
    let Some(server) = launcher::or_skip(NAME, launcher::RabbitMq::start_with(&settings).await) else {
        return;
    };
    let url = format!("amqps://guest:guest@localhost:{port}/%2f");
    let namespace = Namespace::on(server.url());
    let error = namespace.options_at(&url).connect().await.unwrap_err().to_string();
    assert!(error.contains("connecting to localhost"), "{error}");
    let pem = std::fs::read_to_string(at("certificate.pem")).unwrap();
    let bus = namespace.options_at(&url).certificate_authority(pem).connect().await.unwrap();
    let mut consumer = subscribe(&bus, "s").await.unwrap();
    assert_eq!(publish_one(&bus, envelope("1", "k")).await, Answer::Confirmed);
    assert_eq!(read(&mut *consumer, 1).await, ["1"]);
}
