//! The two spellings of a connection string, taken apart: `postgresql://` and `key=value`.
//!
//! As libpq reads them: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING>.

/// Why a connection string cannot be used: "setting: why; what to do next". Values never appear in
/// it, because a mistyped string may carry its password anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}; {todo}")]
pub struct ConnInfoError {
    /// What it is about: a keyword, a `PG*` variable, a file, or the string itself.
    pub setting: String,
    /// What is wrong with it.
    pub why: String,
    /// What to do about it.
    pub todo: String,
}

impl ConnInfoError {
    pub(crate) fn new(setting: &str, why: &str, todo: &str) -> Self {
        let (setting, why, todo) = (setting.to_owned(), why.to_owned(), todo.to_owned());
        Self { setting, why, todo }
    }
}

/// The keywords of a connection string with their values, in order; a later one wins.
///
/// # Errors
/// The string follows neither form. Keywords and values are not looked at.
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(malformed("longer than 16 KiB", "shorten it"));
    }
    let uri = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let pairs = match uri {
        Some(rest) => uri_pairs(rest)?,
        None => words(text)?,
    };
    match pairs.iter().find(|(_, value)| value.contains('\0')) {
        Some((key, _)) => Err(ConnInfoError::new(key, "has a zero byte", "remove it")),
        None => Ok(pairs),
    }
}

const TEXT_BYTES_MAX: usize = 16 * 1024;
const ENCODE: &str = "in a URL, write @ as %40, / as %2F, : as %3A and % as %25, in the password above all";

fn malformed(why: &str, todo: &str) -> ConnInfoError {
    ConnInfoError::new("connection string", why, todo)
}

/// `[user[:password]@][host[:port],...][/dbname][?key=value&...]`
fn uri_pairs(rest: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut pairs = Vec::new();
    let mut put = |key: &str, value: &str| -> Result<(), ConnInfoError> {
        pairs.push((key.to_owned(), decoded(value)?));
        Ok(())
    };
    let before_path = rest.find('/').unwrap_or(rest.len());
    let (userinfo, rest) = match rest[..before_path].find('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, dbname) = place.split_once('/').unwrap_or((place, ""));
    // An unencoded @ or / in the password ends up in the host or the dbname, and from there in logs.
    if place.contains('@') {
        return Err(malformed("has an @ that separates nothing", ENCODE));
    }
    if let Some(userinfo) = userinfo {
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        for (key, value) in [("user", user), ("password", password)] {
            if !value.is_empty() {
                put(key, value)?;
            }
        }
    }
    if !hosts.is_empty() {
        let split: Vec<(&str, &str)> = hosts.split(',').map(host_and_port).collect::<Result<_, _>>()?;
        let (hosts, ports): (Vec<&str>, Vec<&str>) = split.into_iter().unzip();
        for (key, list) in [("host", hosts.join(",")), ("port", ports.join(","))] {
            if !list.is_empty() {
                put(key, &list)?;
            }
        }
    }
    if !dbname.is_empty() {
        put("dbname", dbname)?;
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let todo = "write key=value, and = inside a value as %3D";
        let (key, value) = parameter.split_once('=').ok_or_else(|| malformed("has a parameter without =", todo))?;
        if value.contains('=') {
            return Err(malformed("has a parameter with two =", todo));
        }
        match (decoded(key)?.as_str(), value) {
            ("ssl", "true") => put("sslmode", "require")?, // JDBC's word, which libpq takes too
            (key, value) => put(key, value)?,
        }
    }
    Ok(pairs)
}

fn host_and_port(text: &str) -> Result<(&str, &str), ConnInfoError> {
    let Some(rest) = text.strip_prefix('[') else {
        return Ok(text.split_once(':').unwrap_or((text, "")));
    };
    let todo = "write [address] or [address]:port";
    match rest.split_once(']') {
        Some((address, "")) => Ok((address, "")),
        Some((address, port)) if port.starts_with(':') => Ok((address, &port[1..])),
        _ => Err(malformed("has an IPv6 address without its end", todo)),
    }
}

fn decoded(text: &str) -> Result<String, ConnInfoError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.ok_or_else(|| malformed("has a % without two hexadecimal digits", ENCODE))?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| malformed("is not UTF-8 when decoded", ENCODE))
}

/// `key=value key = 'va\'lue' ...`
fn words(text: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, tail) = rest.split_at(end);
        let Some(value) = tail.trim_start().strip_prefix('=') else {
            let after = pairs.last().map_or("", |(key, _)| key);
            let why = format!("has something without = after {after:?}");
            let todo = "write postgresql://user@host/dbname, or key=value with '' around a value with spaces";
            return Err(malformed(&why, todo));
        };
        let (value, tail) = word(value.trim_start(), key)?;
        pairs.push((key.to_owned(), value));
        rest = tail.trim_start();
    }
    Ok(pairs)
}

/// One value, in quotes or not, and what comes behind it. A backslash takes the next character as
/// it is.
fn word<'a>(text: &'a str, key: &str) -> Result<(String, &'a str), ConnInfoError> {
    let unquoted = text.strip_prefix('\'');
    let mut value = String::new();
    let mut characters = unquoted.unwrap_or(text).chars();
    loop {
        let behind = characters.as_str();
        match (characters.next(), unquoted) {
            (Some('\''), Some(_)) => return Ok((value, characters.as_str())),
            (None, Some(_)) => {
                return Err(ConnInfoError::new(key, "its ' is never closed", "close it, or write \\' for a quote"));
            }
            (None, None) => return Ok((value, "")),
            (Some(c), None) if c.is_whitespace() => return Ok((value, behind)),
            (Some('\\'), _) => value.extend(characters.next()),
            (Some(c), _) => value.push(c),
        }
    }
}
