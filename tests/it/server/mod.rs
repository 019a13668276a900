//! Docker's door, through the real router and the real socket.
