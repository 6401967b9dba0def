//! A frontend's end of a session, on tungstenite: an implementation of RFC 6455 that is not ours.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::description::description;
use crate::world::LIMIT;

pub struct Browser {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What the server answered to the handshake.
    pub response: Response<Option<Vec<u8>>>,
}

impl Browser {
    /// Opens a session, with an `Authorization` header if there is a token.
    pub async fn open(url: &str, token: Option<&str>) -> Result<Self, Error> {
        let mut request = url.into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Self::request(request).await
    }

    /// Opens a session with a request of one's own.
    pub async fn request(request: Request<()>) -> Result<Self, Error> {
        let opened = tokio::time::timeout(LIMIT, tokio_tungstenite::connect_async(request)).await;
        let (socket, response) = opened.expect("the handshake is answered")?;
        Ok(Self { socket, response })
    }

    /// The status and error code of a refused handshake.
    pub async fn refused(request: Request<()>) -> (u16, String) {
        match Self::request(request).await {
            Err(Error::Http(response)) => {
                let body: Value = serde_json::from_slice(response.body().as_deref().unwrap_or_default()).unwrap();
                assert!(body["message"].as_str().is_some_and(|text| text.len() > 5), "{body} tells nothing");
                description().check_refusal(response.status().as_u16(), &body);
                (response.status().as_u16(), body["error"].as_str().unwrap().to_owned())
            }
            Err(other) => panic!("refused without an answer: {other}"),
            Ok(_) => panic!("the handshake was accepted"),
        }
    }

    pub async fn send(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame, whatever it is; it is as docs/asyncapi.yaml says.
    pub async fn frame(&mut self) -> Value {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("no frame but {other:?}"),
                }
            }
        };
        let frame = tokio::time::timeout(LIMIT, next).await.unwrap_or_else(|_| panic!("no frame within {LIMIT:?}"));
        description().check("tell", &frame);
        frame
    }

    /// The next frame, in short: `task UPDATE 7/1`, `task DELETE 7/*`, `reconnect slow_consumer`, or its type.
    pub async fn short(&mut self) -> String {
        short(&self.frame().await)
    }

    /// Asserts that the next frames are these, in short.
    pub async fn hears(&mut self, expected: &[&str]) {
        for (place, expected) in expected.iter().enumerate() {
            assert_eq!(self.short().await, *expected, "frame {place}");
        }
    }

    /// Subscribes and waits for the acknowledgement.
    pub async fn subscribe(&mut self, project: &str) {
        self.send(&serde_json::json!({ "type": "subscribe", "ref": "s", "project_id": project })).await;
        let frame = self.frame().await;
        assert_eq!((&frame["type"], &frame["project_id"]), (&"subscribed".into(), &project.into()), "{frame}");
    }

    /// Reads until the server closes: code and reason. Frames before it are ignored.
    pub async fn closed(&mut self) -> (u16, String) {
        let end = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                    Some(Ok(Message::Close(None))) => return (1005, String::new()),
                    Some(Ok(_)) => {}
                    other => panic!("no close frame but {other:?}"),
                }
            }
        };
        tokio::time::timeout(LIMIT, end).await.unwrap_or_else(|_| panic!("not closed within {LIMIT:?}"))
    }
}

/// A frame in short, see [`Browser::short`].
pub fn short(frame: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("*").to_owned();
    match frame["type"].as_str() {
        Some("cache_invalidate") => {
            let (data, action) = (&frame["data"], text(&frame["action"]));
            assert_eq!(
                [&frame["resource"], &frame["action"], &frame["project_id"]],
                [&data["resource"], &data["action"], &data["project_id"]]
            );
            format!("{} {action} {}/{}", text(&frame["resource"]), text(&frame["project_id"]), text(&data["id"]))
        }
        Some("reconnect") => format!("reconnect {}", text(&frame["data"]["reason"])),
        _ => text(&frame["type"]),
    }
}
