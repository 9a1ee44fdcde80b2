-- Note how much of a process's log has been relayed; what lies behind it is to be relayed at once.
-- KEYS[1]  hash        the process: "relayed" -> number of log entries
-- KEYS[2]  list        the process's log
-- KEYS[3]  sorted set  process of whose log something is to be relayed -> when, epoch ms
-- ARGV[1]  process     ARGV[2]  number of log entries that have been relayed
-- Returns  how many are to be relayed still

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local relayed = math.max(ARGV[2], redis.call('HGET', KEYS[1], 'relayed') or 0)
local left = redis.call('LLEN', KEYS[2]) - relayed
redis.call('ZCARD', KEYS[3])
-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('HSET', KEYS[1], '', '') and may('ZADD', KEYS[3], 0, '') and may('ZREM', KEYS[3], '')) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

if redis.call('HEXISTS', KEYS[1], 'state') == 1 then
  redis.call('HSET', KEYS[1], 'relayed', string.format('%d', relayed))
end
if left > 0 then
  redis.call('ZADD', KEYS[3], now, ARGV[1])
else
  redis.call('ZREM', KEYS[3], ARGV[1])
end
return left
