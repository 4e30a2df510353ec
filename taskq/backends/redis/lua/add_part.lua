-- Keeps what a member of a chord contributes; returns how many members have.
--
-- KEYS[1]  the chord's parts
-- ARGV[1]  milliseconds that they are kept; 0 for ever
-- ARGV[2]  the member's place
-- ARGV[3]  what it contributes
redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3])
return keep_chord(KEYS[1], ARGV[1])
