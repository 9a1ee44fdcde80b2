-- Move an entry to another time, to another sorted set, or out of the way, unless it has moved since it was read.
-- KEYS[1]  sorted set  member -> epoch ms: where the entry is
-- KEYS[2]  sorted set  member -> epoch ms: where it shall be; may be the same
-- ARGV[1]  member      ARGV[2]  epoch ms it was read with      ARGV[3]  new epoch ms, or "" to remove it
-- Returns  1 if the entry was moved or removed, 0 if not

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZCARD', KEYS[2])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('ZREM', KEYS[1], '') and may('ZADD', KEYS[2], 0, '')) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
end
return 1
