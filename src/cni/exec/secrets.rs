//! What users pass to plugins alone: pairs of `CNI_ARGS` and capability arguments. Plugins
//! quote them in their errors, which are logged and shown.

use serde_json::Value;

use crate::cni::{Attachment, Failure, InvalidResult};

/// Stands for a value.
const HIDDEN: &str = "[hidden]";

/// Shorter texts are no secrets, and stand everywhere.
const SHORTEST: usize = 4;

/// What runtimes say themselves, or what names something that is no secret.
const OPEN_ARGS: [&str; 7] = [
    "IgnoreUnknown",
    "IP",
    "MAC",
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_INFRA_CONTAINER_ID",
    "K8S_POD_UID",
];
const OPEN_CAPABILITIES: [&str; 4] = ["portMappings", "ips", "mac", "ipRanges"];

/// The secrets of attachments.
pub(crate) struct Secrets(Vec<String>);

impl Secrets {
    pub(crate) fn of<'a>(attachments: impl IntoIterator<Item = &'a Attachment>) -> Self {
        let mut texts = Vec::new();
        for attachment in attachments {
            let args = attachment.args.iter();
            let secret = args.filter(|(key, _)| !OPEN_ARGS.contains(&key.as_str()));
            texts.extend(secret.map(|(_, value)| value.clone()));
            let capabilities = attachment.capability_args.iter();
            for (_, value) in
                capabilities.filter(|(name, _)| !OPEN_CAPABILITIES.contains(&name.as_str()))
            {
                collect(value, &mut texts);
            }
        }
        // As it stands in JSON, where that is another text.
        let quoted = texts.iter().map(|text| Value::from(text.as_str()).to_string());
        let quoted: Vec<_> = quoted.map(|text| text.trim_matches('"').to_owned()).collect();
        texts.extend(quoted);
        texts.retain(|text| text.len() >= SHORTEST);
        // One may be a part of another.
        texts.sort_by(|one, other| (other.len(), one).cmp(&(one.len(), other)));
        texts.dedup();
        Self(texts)
    }

    /// The text without the secrets in it.
    pub(crate) fn hidden_in(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| match text.contains(secret) {
            true => text.replace(secret, HIDDEN),
            false => text,
        })
    }

    /// A plugin's failure without the secrets in its words.
    pub(in crate::cni) fn hidden_in_failure(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Reported { code, msg, details } => Failure::Reported {
                code,
                msg: self.hidden_in(msg),
                details: self.hidden_in(details),
            },
            Failure::Garbled { stdout, problem } => Failure::Garbled {
                stdout: self.hidden_in(stdout),
                problem: self.hidden_in(problem),
            },
            Failure::NotJson(text) => Failure::NotJson(self.hidden_in(text)),
            Failure::VersionInfo(text) => Failure::VersionInfo(self.hidden_in(text)),
            Failure::Result(InvalidResult::Mismatch(mismatch)) => {
                Failure::Result(mismatch.with_found(|found| self.hidden_in(found)).into())
            }
            failure => failure,
        }
    }
}

fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
        Value::Object(object) => object.values().for_each(|value| collect(value, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plugins_words_do_not_show_what_the_user_passed_to_it() {
        let attachment = Attachment {
            args: [("TOKEN", "s3cr\"et"), ("A", "no"), ("IP", "10.0.0.9")]
                .map(|(key, value)| (key.into(), value.into()))
                .into(),
            capability_args: json!({"vpn": {"key": ["hunter22"], "port": 51820}, "mac": "02:99"})
                .as_object()
                .cloned()
                .unwrap_or_default(),
            ..Attachment::default()
        };
        let secrets = Secrets::of(Some(&attachment));
        let text = r#"TOKEN=s3cr"et "s3cr\"et" hunter22 51820 no 10.0.0.9 02:99"#;
        assert_eq!(
            secrets.hidden_in(text.to_owned()),
            r#"TOKEN=[hidden] "[hidden]" [hidden] [hidden] no 10.0.0.9 02:99"#
        );
        assert_eq!(Secrets::of(None).hidden_in(text.to_owned()), text);
    }
}
