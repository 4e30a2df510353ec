-- The server's clock in milliseconds: the one clock that decides what is due and what has ended.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
