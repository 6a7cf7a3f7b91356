//! A disk of a single head: nobody to share it with, so reservations are only remembered.

use super::{Key, ReservationError, Reservations};

/// Always registered alone.
#[derive(Debug, Default)]
pub(crate) struct Exclusive {
    key: Option<Key>,
    holds: bool,
}

impl Reservations for Exclusive {
    fn register(&mut self, key: Key) -> Result<(), ReservationError> {
        self.key = Some(key);
        Ok(())
    }

    fn change_key(&mut self, key: Key) -> Result<(), ReservationError> {
        self.register(key)
    }

    fn keys(&mut self) -> Result<Vec<Key>, ReservationError> {
        Ok(self.key.into_iter().collect())
    }

    fn reserve(&mut self) -> Result<(), ReservationError> {
        self.holds = self.key.is_some();
        if self.holds { Ok(()) } else { Err(ReservationError::Fenced) }
    }

    fn preempt_and_abort(&mut self, victim: Key) -> Result<(), ReservationError> {
        Err(ReservationError::NoSuchKey(victim))
    }

    fn holder(&mut self) -> Result<Option<Key>, ReservationError> {
        Ok(self.key.filter(|_| self.holds))
    }

    fn unregister(&mut self) -> Result<(), ReservationError> {
        *self = Self::default();
        Ok(())
    }
}
