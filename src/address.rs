//! The query string of a session's address.

use crate::protocol::{BAD_FORMAT, Form, Format, Subscribe, Wanted, Wire};

/// What it says, not looked at yet.
#[derive(Default)]
pub struct Address {
    /// Which project, if the address is a subscription.
    pub project_id: Option<String>,
    /// The last cursor seen.
    pub since: Option<String>,
    /// The JWT.
    pub access_token: Option<String>,
    topics: Option<String>,
    filter: Option<String>,
    format: Option<String>,
    batch: Option<String>,
}

impl Address {
    /// Takes a query string apart. Unknown keys are ignored; of several of a key the last counts.
    pub fn parse(text: &str) -> Self {
        let mut query = Self::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let place = match &*key {
                "project_id" => &mut query.project_id,
                "since" => &mut query.since,
                "access_token" => &mut query.access_token,
                "topics" => &mut query.topics,
                "filter" => &mut query.filter,
                "format" => &mut query.format,
                "batch" => &mut query.batch,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        query
    }

    /// How changes are told to this session, where a subscription does not say. The error is a sentence.
    pub fn form(&self, wire: Wire) -> Result<Form, String> {
        let word = self.format.as_deref().map(|word| Format::parse(word).ok_or(BAD_FORMAT));
        let batch = match self.batch.as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(_) => return Err("batch is true or false".into()),
        };
        Ok(Form { format: word.transpose()?.unwrap_or_default(), batch, wire })
    }

    /// The implied first subscription, if the address names a project. The error is a sentence.
    pub fn subscribe(self, form: Form) -> Result<Option<(Subscribe, Wanted)>, String> {
        let Some(project_id) = self.project_id else { return Ok(None) };
        let topics = self.topics.map(|topics| topics.split(',').map(str::to_owned).collect());
        let filter = self.filter.map(|filter| serde_json::from_str(&filter)).transpose();
        let filter = filter.map_err(|_| "filter is no JSON: {\"parent_id\": \"9\"}")?;
        let subscribe =
            Subscribe { project_id, topics, filter, since: self.since, implied: true, ..Subscribe::default() };
        let wanted = subscribe.wanted(form).map_err(|refusal| refusal.message)?;
        Ok(Some((subscribe, wanted)))
    }
}
