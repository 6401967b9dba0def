//! No writer is ever hurt: where a notification cannot be sent, the write commits, the loss is counted, and the sessions
//! are told to ask again.
