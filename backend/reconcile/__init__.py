"""The book against everybody else's: the channels' bills, the meters' own wallets, the signed day."""
