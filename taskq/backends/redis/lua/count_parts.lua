-- What follows a chord, and how many of its members have ended.
--
-- KEYS[1]  the chord's parts
return {redis.call('HGET', KEYS[1], 'record'), count_parts(KEYS[1])}
