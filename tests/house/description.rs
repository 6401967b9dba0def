//! docs/asyncapi.yaml, read: whether a frame or a payload is as it says.
#![allow(dead_code, reason = "each binary of tests uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

/// The document, and a validator for each of its messages.
pub struct Description {
    pub document: Value,
    messages: BTreeMap<String, Validator>,
    refusal: Validator,
}

/// Read once a process.
pub fn description() -> &'static Description {
    static READ: OnceLock<Description> = OnceLock::new();
    READ.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/asyncapi.yaml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let document: Value = yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("docs/asyncapi.yaml: {error}"));
        let validator = |pointer: &str| {
            let schema = json!({ "$ref": pointer, "components": document["components"] });
            let built = jsonschema::options().with_draft(Draft::Draft7).build(&schema);
            built.unwrap_or_else(|error| panic!("{pointer}: {error}"))
        };
        let names = document["components"]["messages"].as_object().unwrap().keys();
        let messages = names.map(|name| (name.clone(), validator(&format!("#/components/messages/{name}/payload"))));
        let (messages, refusal) = (messages.collect(), validator("#/components/schemas/Refusal"));
        Description { document, messages, refusal }
    })
}

impl Description {
    /// The names of the messages of an operation.
    pub fn of(&self, operation: &str) -> Vec<&str> {
        let messages = self.document["operations"][operation]["messages"].as_array().expect("an operation");
        messages.iter().map(|message| message["$ref"].as_str().unwrap().rsplit('/').next().unwrap()).collect()
    }

    /// What is wrong with `value` as this message; nothing = it is one.
    pub fn wrong(&self, message: &str, value: &Value) -> Vec<String> {
        wrong(&self.messages[message], value)
    }

    /// The one message of an operation that `value` is.
    pub fn check(&self, operation: &str, value: &Value) -> &str {
        let judged: Vec<(&str, Vec<String>)> =
            self.of(operation).into_iter().map(|name| (name, self.wrong(name, value))).collect();
        let fitting: Vec<&str> = judged.iter().filter(|(_, wrong)| wrong.is_empty()).map(|(name, _)| *name).collect();
        let [one] = fitting[..] else {
            let same = |name: &str| value["type"].as_str().is_none_or(|kind| kind == name);
            let why: Vec<_> = judged.iter().filter(|(name, wrong)| same(name) && !wrong.is_empty()).collect();
            panic!("{value} is {fitting:?} in docs/asyncapi.yaml, not one message of {operation}: {why:#?}")
        };
        one
    }

    /// Asserts that `value`, to which the message lets anything be added, has nothing that is not described.
    pub fn check_fields(&self, message: &str, value: &Value) {
        let described = &self.document["components"]["messages"][message]["payload"]["properties"];
        let new: Vec<&String> =
            value.as_object().unwrap().keys().filter(|field| described.get(field).is_none()).collect();
        assert!(new.is_empty(), "{value} has {new:?}, which docs/asyncapi.yaml does not describe");
    }

    /// Asserts that an HTTP answer refuses as it says.
    pub fn check_refusal(&self, status: u16, body: &Value) {
        let wrong = wrong(&self.refusal, body);
        assert!(wrong.is_empty(), "{body} is no Refusal of docs/asyncapi.yaml: {wrong:#?}");
        let refusals = self.document["channels"]["websocket"]["x-refusals"].as_array().unwrap();
        let codes = refusals.iter().find(|refusal| refusal["status"] == status).map(|refusal| &refusal["codes"]);
        let known = codes.and_then(Value::as_array).is_some_and(|codes| codes.contains(&body["error"]));
        assert!(known, "x-refusals of docs/asyncapi.yaml does not have {status} {body}");
    }
}

fn wrong(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}
