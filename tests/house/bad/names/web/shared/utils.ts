export {}; // # BAD
