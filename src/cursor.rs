//! Where a client has got to: the name of an invalidation, the same on every daemon.

use std::fmt;

/// The transaction's id (`xid8`), the place of the notification within it, and the place of the last id that a frame
/// covers within that. Transactions are not ordered by their id, so cursors are compared for equality only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// `pg_current_xact_id()` of the writing transaction.
    pub transaction: u64,
    /// 0 for the first notification of the transaction, counted by [`Ordinals`]; or the id that it had in the queue
    /// of the relay, which begins far above.
    pub ordinal: u64,
    /// 0 for the first of its ids.
    pub place: u32,
}

impl Cursor {
    /// Reads what [`fmt::Display`] wrote; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (transaction, ordinal) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let place = parts.next().map_or(Some(0), |place| place.parse().ok())?;
        let cursor = Self { transaction, ordinal, place };
        (cursor.to_string() == text).then_some(cursor)
    }

    /// The same notification, as far as this one of its ids.
    #[must_use]
    pub fn at(self, place: usize) -> Self {
        Self { place: u32::try_from(place).unwrap_or(u32::MAX), ..self }
    }
}

impl fmt::Display for Cursor {
    /// `748123.0`, and `748123.0.2` for the third id of a notification.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.transaction, self.ordinal)?;
        if self.place > 0 { write!(f, ".{}", self.place) } else { Ok(()) }
    }
}

/// Counts the notifications of one transaction. Postgres delivers them together and in the same order to every
/// listener, so every daemon counts the same.
#[derive(Debug, Default)]
pub struct Ordinals {
    last: Option<Cursor>,
}

impl Ordinals {
    /// The cursor of the next notification of `transaction`, where it does not tell its own ordinal.
    pub fn next(&mut self, transaction: u64) -> Cursor {
        let ordinal = match self.last {
            Some(last) if last.transaction == transaction => last.ordinal.saturating_add(1),
            _ => 0,
        };
        let cursor = Cursor { transaction, ordinal, place: 0 };
        self.last = Some(cursor);
        cursor
    }
}
