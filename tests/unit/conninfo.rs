//! A connection string means what it means to psql.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use pgherald::conninfo::{ConnInfo, ConnInfoError, parse};
use pgherald::tls::{Identity, Roots, TlsMode};
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode, SslNegotiation, TargetSessionAttrs};

type Env<'a> = &'a [(&'a str, &'a str)];

/// An environment whose home folder does not exist, so that no file of this machine has a say.
fn parsed(text: &str, env: Env) -> Result<ConnInfo, ConnInfoError> {
    let nowhere = ("HOME", "/nowhere");
    let variables: Vec<_> = env.iter().copied().chain([nowhere]).collect();
    parse(text, &|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

/// What the string gives: its redacted URL, and behind a space the password, if there is one. Or
/// the error.
fn outcome(text: &str, env: Env) -> String {
    match parsed(text, env) {
        Ok(info) => match info.postgres.get_password() {
            Some(password) => format!("{} {}", info.redacted(), String::from_utf8_lossy(password)),
            None => info.redacted(),
        },
        Err(error) => error.to_string(),
    }
}

/// Each input gives an outcome that begins as told.
fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let outcome = outcome(text, &[("PGUSER", "me")]);
        assert!(outcome.starts_with(expected), "{text}\n gave {outcome}\n not  {expected}");
    }
}

#[test]
fn a_url_is_read_as_libpq_reads_it() {
    check(&[
        ("postgresql://app@db:5433/shop", "postgresql://app@db:5433/shop?sslmode=prefer"),
        ("postgres://app:s3cret@db/shop?sslmode=require", "postgresql://app@db:5432/shop?sslmode=require s3cret"),
        ("postgresql://db", "postgresql://me@db:5432/me?"),
        ("postgresql://a@b,c:1,d:2/e", "postgresql://a@b:5432,c:1,d:2/e?"),
        ("postgresql://a@b,c/e?port=7", "postgresql://a@b:7,c:7/e?"),
        ("postgresql://a@[::1]:5/e", "postgresql://a@[::1]:5/e?"),
        ("postgresql://a@[2001:db8::1],[::2]:3/e", "postgresql://a@[2001:db8::1]:5432,[::2]:3/e?"),
        ("postgresql://a@%2Fvar%2Flib%2Fx/e", "postgresql://a@%2Fvar%2Flib%2Fx:5432/e?sslmode=disable"),
        ("postgresql:///e?host=/sock&port=1&user=u", "postgresql://u@%2Fsock:1/e?sslmode=disable"),
        ("postgresql://db?user=u&password=p", "postgresql://u@db:5432/u?sslmode=prefer p"),
        ("postgresql://u%40x:p%2F%3A%40%25@db/a%20b", "postgresql://u%40x@db:5432/a%20b?sslmode=prefer p/:@%"),
        ("postgresql://u:a:b?c#d=@db/e", "postgresql://u@db:5432/e?sslmode=prefer a:b?c#d="),
        ("postgresql://u:@db/e", "postgresql://u@db:5432/e?sslmode=prefer"),
        ("postgresql://@db/", "postgresql://me@db:5432/me?"),
        ("postgresql://db/e?ssl=true", "postgresql://me@db:5432/e?sslmode=require"),
        ("postgresql://db/%C3%A9", "postgresql://me@db:5432/%C3%A9?"),
        ("postgresql://one/e?host=two", "postgresql://me@two:5432/e?"),
    ]);
}

#[test]
fn keywords_and_values_are_read_as_libpq_reads_them() {
    check(&[
        ("host=db port=5433 user=app dbname=shop", "postgresql://app@db:5433/shop?sslmode=prefer"),
        ("  host = db\n\tuser= app ", "postgresql://app@db:5432/app?"),
        (r"host=db password='it\'s \\ here'", r"postgresql://me@db:5432/me?sslmode=prefer it's \ here"),
        (r"host=db password=a\ b\'c", "postgresql://me@db:5432/me?sslmode=prefer a b'c"),
        ("host=db password='' user=u", "postgresql://u@db:5432/u?sslmode=prefer"),
        ("host=db password=a=b=c", "postgresql://me@db:5432/me?sslmode=prefer a=b=c"),
        ("host=a,b port=1,2 dbname=x", "postgresql://me@a:1,b:2/x?"),
        ("host=a,b port=1, dbname=x", "postgresql://me@a:1,b:5432/x?"),
        ("host=a host=b", "postgresql://me@b:5432/me?"),
        ("host=::1", "postgresql://me@[::1]:5432/me?"),
        ("hostaddr=10.0.0.1 sslmode=require", "postgresql://me@10.0.0.1:5432/me?sslmode=require"),
        ("host=db hostaddr=10.0.0.1", "postgresql://me@db:5432/me?"),
        ("port=1", "postgresql://me@localhost:1/me?"),
        ("host=,db port=1", "postgresql://me@localhost:1,db:1/me?"),
        ("host=db sslmode=allow", "postgresql://me@db:5432/me?sslmode=prefer"),
    ]);
}

#[test]
fn a_bad_string_is_refused_with_its_reason() {
    check(&[
        ("db", "connection string: has something without = after \"\"; write postgresql://"),
        ("host=db secret", "connection string: has something without = after \"host\"; "),
        ("host=db colour=red", "connection string: \"colour\" is no keyword of libpq; "),
        ("postgresql://db/e?colour=red", "connection string: \"colour\" is no keyword of libpq; "),
        ("postgresql://db/e?sslmode", "connection string: has a parameter without =; "),
        ("postgresql://db/e?user=a=b", "connection string: has a parameter with two =; "),
        ("host='db", "host: its ' is never closed; "),
        ("postgresql://[::1/e", "connection string: has an IPv6 address without its end; "),
        ("postgresql://[::1]x/e", "connection string: has an IPv6 address without its end; "),
        ("postgresql://u:%4@db", "connection string: has a % without two hexadecimal digits; "),
        ("postgresql://u:%zz@db", "connection string: has a % without two hexadecimal digits; "),
        ("postgresql://u:%+1@db", "connection string: has a % without two hexadecimal digits; "),
        ("postgresql://u:%é@db", "connection string: has a % without two hexadecimal digits; "),
        ("postgresql://u:%ff@db", "connection string: is not UTF-8 when decoded; "),
        ("postgresql://u:%00@db", "password: has a zero byte; "),
        ("postgresql://db:http/e", "port: not a number of a port; "),
        ("host=db port=0", "port: not a number of a port; "),
        ("host=db port=65536", "port: not a number of a port; "),
        ("host=a,b port=1,2,3", "port: has not as many ports"),
        ("host=a,b hostaddr=10.0.0.1", "hostaddr: has not as many addresses"),
        ("host=a hostaddr=b", "hostaddr: not an IP address; "),
        ("host=@abstract", "host: abstract sockets are not supported; "),
        (
            "host=db sslmode=on",
            "sslmode: not a word that is understood here; use one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("host=db connect_timeout=2s", "connect_timeout: not a whole number; give it in seconds"),
        ("service=none", "service: no service file has a section [none]; "),
    ]);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    check(&[
        (
            "host=db target_session_attrs=primary",
            "target_session_attrs: not a word that is understood here; use one of any, read-write, read-only",
        ),
        ("host=db target_session_attrs=prefer-standby", "target_session_attrs: not a word"),
        ("host=db client_encoding=latin1", "client_encoding: only UTF8 is spoken here; leave it out"),
        ("host=db gssencmode=require", "gssencmode: GSS encryption is not supported; "),
        ("host=db require_auth=scram-sha-256", "require_auth: "),
        ("host=db requirepeer=postgres", "requirepeer: "),
        ("host=db sslcrl=/x", "sslcrl: revocation lists are not supported; "),
        ("host=db sslpassword=x", "sslpassword: an encrypted key is not supported; "),
        ("host=db sslrootcert=system sslmode=require", "sslmode: too weak for sslrootcert=system"),
        ("hostaddr=10.0.0.1 sslmode=verify-full", "host: verify-full compares the host's name, and there is none; "),
        ("host=/sock,db sslmode=require", "host: a unix socket has no TLS and the other hosts must have it; "),
        ("host=db sslnegotiation=direct", "sslnegotiation: direct needs TLS for certain; "),
        ("host=db ssl_min_protocol_version=TLSv1.3", "ssl_min_protocol_version: "),
        ("host=db replication=database", "replication: "),
    ]);
}

#[test]
fn what_changes_nothing_is_accepted() {
    let harmless = "host=db client_encoding=UTF8 gssencmode=prefer krbsrvname=postgres sslcompression=0 gsslib=x \
        sslcertmode=allow ssl_min_protocol_version=TLSv1.2 replication=false tty=x gssdelegation=0 \
        fallback_application_name=psql";
    check(&[(harmless, "postgresql://me@db:5432/me?sslmode=prefer")]);
}

#[test]
fn no_error_and_no_debug_output_shows_a_secret() {
    let secret = "hunter2";
    for text in [
        "postgresql://u:hunter2/x@db/e",
        "postgresql://u:1/hunter2@db/e",
        "postgresql://u:p@hunter2@db/e",
        "postgresql://u:hunter2%@db/e",
        "host=db password=two hunter2 user=u",
        "host=db password='hunter2",
        "host=db password=two hunter2!=x user=u",
        "host=db port=hunter2",
        "host=db sslmode=hunter2",
        "host=db sslpassword=hunter2",
        "host=db scram_client_key=hunter2",
        "host=db password=hunter2",
        "postgresql://u:hunter2@db/e",
    ] {
        let shown = match parsed(text, &[("PGUSER", "me")]) {
            Ok(info) => format!("{info:?} {}", info.redacted()),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(secret), "{text}: {shown}");
    }
}

#[test]
fn the_environment_fills_what_the_string_leaves_out() {
    let env = [
        ("PGHOST", "envhost"),
        ("PGPORT", "1"),
        ("PGUSER", "envuser"),
        ("PGDATABASE", "envdb"),
        ("PGPASSWORD", "envpass"),
        ("PGSSLMODE", "disable"),
    ];
    assert_eq!(outcome("", &env), "postgresql://envuser@envhost:1/envdb?sslmode=disable envpass");
    assert_eq!(outcome("postgresql://", &env), "postgresql://envuser@envhost:1/envdb?sslmode=disable envpass");
    assert_eq!(outcome("postgresql://u:p@h:2/d?sslmode=require", &env), "postgresql://u@h:2/d?sslmode=require p");
    assert_eq!(outcome("host=h", &[("PGUSER", "u"), ("PGHOST", "")]), "postgresql://u@h:5432/u?sslmode=prefer");
    assert_eq!(outcome("host=h user=u", &[("PGREQUIRESSL", "1")]), "postgresql://u@h:5432/u?sslmode=require");
    // A list without ports has the default ones, as psql has it.
    assert_eq!(outcome("postgresql://a,b/", &env), "postgresql://envuser@a:5432,b:5432/envdb?sslmode=disable envpass");
    let wrong = outcome("", &[("PGPORT", "x"), ("PGHOST", "h")]);
    assert!(wrong.starts_with("PGPORT: not a number of a port"), "{wrong}");
}

#[test]
fn without_a_user_it_is_the_one_that_runs_this() {
    let info = parsed("host=db", &[]).unwrap();
    assert!(!info.postgres.get_user().unwrap().is_empty());
    assert_eq!(info.postgres.get_user(), info.postgres.get_dbname());
}

#[test]
fn every_setting_reaches_tokio_postgres_in_its_unit() {
    let text = "host=db sslmode=require connect_timeout=7 tcp_user_timeout=1500 keepalives=0 keepalives_idle=11 \
        keepalives_interval=12 keepalives_count=13 target_session_attrs=read-write load_balance_hosts=random \
        channel_binding=require application_name=app options='-c geqo=off' sslnegotiation=direct sslsni=0";
    let info = parsed(text, &[]).unwrap();
    let postgres = &info.postgres;
    assert_eq!(postgres.get_connect_timeout(), Some(&Duration::from_secs(7)));
    assert_eq!(postgres.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
    assert!(!postgres.get_keepalives());
    assert_eq!(postgres.get_keepalives_idle(), Duration::from_secs(11));
    assert_eq!(postgres.get_keepalives_interval(), Some(Duration::from_secs(12)));
    assert_eq!(postgres.get_keepalives_retries(), Some(13));
    assert_eq!(postgres.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(postgres.get_load_balance_hosts(), LoadBalanceHosts::Random);
    assert_eq!(postgres.get_channel_binding(), ChannelBinding::Require);
    assert_eq!(postgres.get_application_name(), Some("app"));
    assert_eq!(postgres.get_options(), Some("-c geqo=off"));
    assert_eq!(postgres.get_ssl_mode(), SslMode::Require);
    assert_eq!(postgres.get_ssl_negotiation(), SslNegotiation::Direct);
    assert!(!info.tls.server_name);

    let zero = parsed("host=db connect_timeout=0 tcp_user_timeout=0 fallback_application_name=f", &[]).unwrap();
    assert_eq!(zero.postgres.get_connect_timeout(), None);
    assert_eq!(zero.postgres.get_tcp_user_timeout(), None);
    assert_eq!(zero.postgres.get_application_name(), Some("f"));
}

#[test]
fn a_unix_socket_never_asks_for_tls() {
    let info = parsed("host=/sock sslmode=verify-full", &[]).unwrap();
    assert_eq!((info.tls.mode, info.postgres.get_ssl_mode()), (TlsMode::Disable, SslMode::Disable));
}

#[test]
fn certificates_come_from_the_string_or_from_the_home_folder() {
    let home = tempfile::tempdir().unwrap();
    let env = [("HOME", home.path().to_str().unwrap())];
    // The first of a name wins in `parsed`, so this home does.
    assert_eq!(parsed("host=db", &env).unwrap().tls.roots, Roots::None);
    let folder = home.path().join(".postgresql");
    std::fs::create_dir(&folder).unwrap();
    for name in ["root.crt", "postgresql.crt", "postgresql.key"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let tls = parsed("host=db sslmode=verify-ca", &env).unwrap().tls;
    assert_eq!(tls.mode, TlsMode::VerifyCa);
    assert_eq!(tls.roots, Roots::File(folder.join("root.crt")));
    let identity = Identity { certificate: folder.join("postgresql.crt"), key: folder.join("postgresql.key") };
    assert_eq!(tls.identity, Some(identity));

    let text = "host=db sslmode=verify-full sslrootcert=/r sslcert=/c sslkey=/k";
    let tls = parsed(text, &env).unwrap().tls;
    assert_eq!(tls.roots, Roots::File("/r".into()));
    let identity = Identity { certificate: "/c".into(), key: "/k".into() };
    assert_eq!(tls.identity, Some(identity));
    assert_eq!(parsed("host=db sslcertmode=disable", &env).unwrap().tls.identity, None);
    let system = parsed("host=db sslrootcert=system", &env).unwrap().tls;
    assert_eq!((system.roots, system.mode), (Roots::System, TlsMode::VerifyFull));
}

#[test]
fn the_password_comes_from_the_first_line_that_matches() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    let lines = r"# db:5432:shop:app:commented
db:5433:shop:app:other port
db:5432:shop:app:a:b\:c\\d
[::1]:5432:*:app:never
\:\:1:5432:*:app:six
localhost:*:*:app:local
*:*:*:admin:any
broken
";
    private(&file, lines);
    let env = [("HOME", home.path().to_str().unwrap())];
    for (text, expected) in [
        ("postgresql://app@db/shop", Some(r"a:b:c\d")),
        ("postgresql://app@db:5433/shop", Some("other port")),
        ("postgresql://app@db/other", None),
        ("postgresql://app@[::1]/x", Some("six")),
        ("postgresql://app@localhost/x", Some("local")),
        ("host=/tmp user=app", Some("local")),
        ("host=/elsewhere user=app", None),
        ("host=a,b user=admin", Some("any")),
        ("host=db user=app dbname=shop password=given", Some("given")),
    ] {
        let info = parsed(text, &env).unwrap();
        let password = info.postgres.get_password().map(|password| std::str::from_utf8(password).unwrap());
        assert_eq!(password, expected, "{text}");
        assert_eq!(info.warnings, Vec::<String>::new());
    }
    let several = parsed("host=db,other user=app dbname=shop", &env).unwrap_err();
    assert!(several.to_string().contains("has not the same password for all hosts"), "{several}");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let info = parsed("postgresql://app@db/shop", &env).unwrap();
    assert_eq!(info.postgres.get_password(), None);
    assert!(info.warnings[0].contains("others may read it; chmod 600 it"), "{:?}", info.warnings);

    let elsewhere = home.path().join("elsewhere");
    private(&elsewhere, "*:*:*:*:found");
    let env = [("PGPASSFILE", elsewhere.to_str().unwrap())];
    assert_eq!(outcome("postgresql://a@b/c", &env), "postgresql://a@b:5432/c?sslmode=prefer found");
}

#[test]
fn a_service_lies_between_the_string_and_the_environment() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pg_service.conf");
    let text = "# ours\n[other]\nhost=no\n[shop]\nhost=svc\nport=7\n# note\nsslmode=require\n\n[last]\nhost=no\n[bad]\ncolour=red\n[worse]\nhost\n";
    std::fs::write(&file, text).unwrap();
    let home = home.path().to_str().unwrap();
    let env = [("HOME", home), ("PGHOST", "env"), ("PGUSER", "env")];
    assert_eq!(outcome("service=shop port=8", &env), "postgresql://env@svc:8/env?sslmode=require");
    assert_eq!(outcome("postgresql:///?service=shop", &env), "postgresql://env@svc:7/env?sslmode=require");
    let by_variable = [("PGSERVICEFILE", file.to_str().unwrap()), ("PGSERVICE", "shop"), ("PGUSER", "u")];
    assert_eq!(outcome("", &by_variable), "postgresql://u@svc:7/u?sslmode=require");
    for (service, expected) in
        [("bad", "service bad: \"colour\" is no keyword"), ("worse", &format!("{}, line 15: has no =", file.display()))]
    {
        let error = outcome(&format!("service={service}"), &env);
        assert!(error.starts_with(expected), "{error}");
    }
    let missing = outcome("service=shop", &[("PGSERVICEFILE", "/nowhere/x")]);
    assert!(missing.starts_with("/nowhere/x: No such file"), "{missing}");
}

#[test]
fn hostile_strings_end_in_a_value_or_an_error() {
    let pieces =
        ["postgresql://", "%", "%2", "@", ":", "/", "?", "=", "&", "[", "]", ",", "'", "\\", " ", "host", "é", "\0"];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                for d in pieces {
                    let text = format!("{a}{b}{c}{d}");
                    let _ = parsed(&text, &[("PGUSER", "me")]);
                    let _ = parsed(&format!("postgresql://{text}"), &[("PGUSER", "me")]);
                }
            }
        }
    }
    let long = format!("host={}", "x".repeat(1 << 20));
    assert!(parsed(&long, &[]).unwrap_err().to_string().contains("longer than 16 KiB"));
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
