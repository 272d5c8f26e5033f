//! Who and what there is in a run: people, conversations, and the numbers that the history calls them by.

use std::collections::HashMap;
use std::time::Duration;

use sealpost_testing::{Stack, User};
use serde_json::json;
use uuid::Uuid;

use crate::history::{Number, What};
use crate::recorder::Recorder;

/// Comes and goes in the last conversation; its owner is user 0.
pub const GUEST: Number = 1;

pub struct Directory {
    pub users: Vec<User>,
    pub conversations: Vec<Conversation>,
    user_numbers: HashMap<String, Number>,
    conversation_numbers: HashMap<String, Number>,
}

pub struct Conversation {
    pub id: String,
    pub members: Vec<Number>,
}

impl Directory {
    /// Signs people up and opens conversations: dms, small groups, one with everybody, and one that the guest joins and leaves.
    pub async fn build(stack: &Stack, users: u32, recorder: &Recorder) -> Self {
        let mut this = Self {
            users: Vec::new(),
            conversations: Vec::new(),
            user_numbers: HashMap::new(),
            conversation_numbers: HashMap::new(),
        };
        for number in 0..users {
            let user = User::sign_up(stack, number as usize, "torture").await;
            recorder.note(What::User { user: number, id: uuid(&user.id) });
            this.user_numbers.insert(user.id.clone(), number);
            this.users.push(user);
        }
        let everybody: Vec<Number> = (0..users).collect();
        for members in
            [&everybody[..2], &everybody[2..4], &everybody[..3], &everybody[3..], &everybody[..], &everybody[..4]]
        {
            let others: Vec<&User> = members[1..].iter().map(|member| &this.users[*member as usize]).collect();
            let owner = &this.users[members[0] as usize];
            let id = if members.len() == 2 { owner.dm(others[0]).await } else { owner.group(&others).await };
            let number = Number::try_from(this.conversations.len()).unwrap();
            recorder.note(What::Conversation { conversation: number, id: uuid(&id), members: members.to_vec() });
            this.conversation_numbers.insert(id.clone(), number);
            this.conversations.push(Conversation { id, members: members.to_vec() });
        }
        this
    }

    /// Conversations of a user, the last one included even while they are away.
    pub fn of(&self, user: Number) -> Vec<Number> {
        let all = (0..).zip(&self.conversations);
        all.filter(|(_, conversation)| conversation.members.contains(&user)).map(|(number, _)| number).collect()
    }

    pub fn last(&self) -> Number {
        Number::try_from(self.conversations.len() - 1).unwrap()
    }

    pub fn user_number(&self, id: &str) -> Option<Number> {
        self.user_numbers.get(id).copied()
    }

    pub fn conversation_number(&self, id: &str) -> Option<Number> {
        self.conversation_numbers.get(id).copied()
    }

    /// A new session of a user through that address. `None`: no answer, or a refusal.
    pub async fn sign_in(&self, user: Number, base: &str) -> Option<User> {
        let user = &self.users[user as usize];
        let credentials = json!({ "username": user.username, "password": user.password });
        let api = sealpost_testing::Api::new(base).patience(Duration::from_secs(10));
        let reply = api.try_request("POST", "/api/auth/signin", None, &credentials).await?;
        let text = |name: &str| reply.body[name].as_str().map(str::to_owned);
        (reply.status == 200).then_some(())?;
        Some(User {
            session_id: text("session_id")?,
            access_token: text("access_token")?,
            refresh_token: text("refresh_token")?,
            api,
            ..user.clone()
        })
    }
}

pub fn uuid(text: &str) -> Uuid {
    text.parse().unwrap_or_else(|_| panic!("not a UUID: {text}"))
}
